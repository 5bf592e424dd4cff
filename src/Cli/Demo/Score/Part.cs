using Delivery.Cli.Demo.Synthesis;

namespace Delivery.Cli.Demo.Score;

/// <summary>One player: what it plays, on which instrument, and where it sits in the mix.</summary>
internal sealed record Part(string Name, IInstrument Instrument, IReadOnlyList<Note> Notes)
{
    public double GainDb { get; init; }

    /// <summary>-1 left to 1 right.</summary>
    public double Pan { get; init; }

    /// <summary>How far two octaves above middle C lie to the right of it, as a keyboard or a harp spreads.</summary>
    public double Spread { get; init; }

    /// <summary>Share of the part that is sent to the reverb, 0 to 1.</summary>
    public double Reverb { get; init; } = 0.25;

    /// <summary>Share of the part that is sent to the ping-pong echo, 0 to 1.</summary>
    public double Echo { get; init; }

    public bool Chorus { get; init; }

    /// <summary>How far from the beat a note may fall, either way.</summary>
    public double LoosenessSeconds { get; init; } = 0.006;

    /// <summary>Velocity over the piece, as (bar, factor) marks with straight lines between; empty means 1 throughout.</summary>
    public IReadOnlyList<(double Bar, double Factor)> Dynamics { get; init; } = [];

    public double DynamicAt(double bar)
    {
        if (Dynamics.Count == 0)
            return 1;
        var after = 0;
        while (after < Dynamics.Count && Dynamics[after].Bar <= bar)
            after++;
        if (after == 0 || after == Dynamics.Count)
            return Dynamics[Math.Max(0, after - 1)].Factor;
        var (from, to) = (Dynamics[after - 1], Dynamics[after]);
        return from.Factor + (to.Factor - from.Factor) * (bar - from.Bar) / (to.Bar - from.Bar);
    }
}
