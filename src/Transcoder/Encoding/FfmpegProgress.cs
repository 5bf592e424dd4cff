using System.Globalization;

namespace Delivery.Transcoder.Encoding;

/// <summary>Reads ffmpeg's <c>-progress</c> lines (<c>key=value</c>).</summary>
internal sealed class FfmpegProgress(TimeSpan duration, Action<double> onProgress)
{
    private long _microseconds = -1;

    /// <summary>Whether <c>progress=end</c> was seen.</summary>
    public bool Ended { get; private set; }

    /// <summary>Takes any line of the log; tags of the master are indented there, and so never taken for progress.</summary>
    public void Add(string line)
    {
        const string Time = "out_time_us=";
        if (line == "progress=end")
        {
            Ended = true;
            return;
        }

        if (!line.StartsWith(Time, StringComparison.Ordinal)
            || !long.TryParse(line.AsSpan(Time.Length), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var microseconds)
            || microseconds <= _microseconds)
        {
            return;
        }

        _microseconds = microseconds;
        onProgress(Math.Clamp(microseconds / Math.Max(1, duration.TotalMicroseconds), 0, 1));
    }
}
