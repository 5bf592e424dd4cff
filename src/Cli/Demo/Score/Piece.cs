namespace Delivery.Cli.Demo.Score;

/// <summary>A composition with the format of its master.</summary>
internal sealed record Piece(string Title, Tempo Tempo, int BeatsPerBar, IReadOnlyList<Part> Parts)
{
    public required TimeSpan Duration { get; init; }
    public required int SampleRateHz { get; init; }
    public required int BitsPerSample { get; init; }

    /// <summary>Level of the whole mix before the limiter; set by measuring the piece (EBU R128) to stand near -16 LUFS.</summary>
    public double MasterGainDb { get; init; }

    public double ReverbSeconds { get; init; } = 2.2;

    /// <summary>Delay of the echo, in beats.</summary>
    public double EchoBeats { get; init; } = 0.75;

    public long FrameCount => (long)(Duration.TotalSeconds * SampleRateHz);
}
