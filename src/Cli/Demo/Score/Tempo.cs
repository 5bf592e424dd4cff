namespace Delivery.Cli.Demo.Score;

/// <summary>Beats to seconds: beats per minute change linearly between the marks, and hold after the last.</summary>
internal sealed class Tempo(params (double Beat, double BeatsPerMinute)[] marks)
{
    public double ToSeconds(double beat)
    {
        var seconds = 0.0;
        for (var i = 0; i < marks.Length && beat > marks[i].Beat; i++)
        {
            var from = marks[i];
            var to = i + 1 < marks.Length ? marks[i + 1] : (Beat: double.MaxValue, from.BeatsPerMinute);
            var beats = Math.Min(beat, to.Beat) - from.Beat;
            var slope = (to.BeatsPerMinute - from.BeatsPerMinute) / (to.Beat - from.Beat);
            seconds += Math.Abs(slope) < 1e-9
                ? beats * 60 / from.BeatsPerMinute
                : 60 / slope * Math.Log((from.BeatsPerMinute + slope * beats) / from.BeatsPerMinute);
        }
        return seconds;
    }
}
