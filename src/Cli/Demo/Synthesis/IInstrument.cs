using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo.Synthesis;

/// <summary>Makes one voice per stroke; voices know nothing of each other.</summary>
internal interface IInstrument
{
    Voice Start(in Stroke stroke, int sampleRateHz);
}

/// <summary>One sounding note. It starts and ends at zero, so that no voice clicks.</summary>
internal abstract class Voice
{
    /// <summary>Writes the next samples over the block.</summary>
    /// <returns>False when the note has died away: what it wrote is its last.</returns>
    public abstract bool Render(Span<float> block);
}
