using Delivery.Edge.Objects;

namespace Delivery.Edge.Fills;

/// <summary>
/// A request's hold on one chunk of a fill: as long as it is held, the chunk's buffer stays. Held while waiting for bytes and while copying
/// them, never while waiting for the client, so a slow client holds no fill buffer.
/// </summary>
internal sealed class FillLease(FillTable table, FillChunk chunk, bool joined) : IDisposable
{
    private int _released;

    /// <summary>Whether another request's fill serves this one.</summary>
    public bool Joined { get; } = joined;

    public long Index => chunk.Index;

    public Fill Fill => chunk.Fill;

    public EdgeObject? Entry => chunk.Fill.Entry;

    public FillOutcome Outcome => chunk.Fill.Outcome;

    /// <summary>Waits until a byte at <paramref name="offset"/> of the chunk has landed, or the fill has ended.</summary>
    public Task WaitAsync(int offset, CancellationToken cancellationToken) => chunk.Fill.WaitAsync(RunOffset + offset, cancellationToken);

    /// <summary>Waits until the fill has ended.</summary>
    public Task EndAsync() => chunk.Fill.WaitAsync(long.MaxValue, CancellationToken.None);

    /// <summary>The bytes of the chunk from <paramref name="offset"/> that have landed; empty when there are none or the fill failed.</summary>
    public ReadOnlySpan<byte> Landed(int offset)
    {
        if (chunk.Fill.Outcome is not (FillOutcome.Running or FillOutcome.Completed))
            return default;
        var landed = (int)Math.Clamp(chunk.Fill.Landed - RunOffset, 0, Chunk.SizeBytes);
        return landed > offset && chunk.Buffer is { } buffer ? buffer.Content.Span[offset..landed] : default;
    }

    /// <summary>Whether a byte at <paramref name="offset"/> of this chunk of this object can be read now.</summary>
    public bool Serves(EdgeObject known, long index, int offset) => index == Index && Entry?.Hash == known.Hash && !Landed(offset).IsEmpty;

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _released, 1) == 0)
            table.Release(chunk);
    }

    private long RunOffset => (long)chunk.Ordinal * Chunk.SizeBytes;
}
