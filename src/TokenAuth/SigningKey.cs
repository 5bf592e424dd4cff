using System.Diagnostics;
using System.Numerics;
using System.Security.Cryptography;

namespace Delivery.TokenAuth;

/// <summary>
/// One key of a ring with its pool of keyed HMAC states. Reusing a state halves the cost of <see cref="HMACSHA256"/>'s one-shot
/// (docs/formats/signed-url.md, "Cost"), but a state serves one thread at a time, so each is rented exclusively.
/// </summary>
/// <remarks>
/// The pool belongs to the key and dies with its ring: a reload swaps the ring while requests still use the old one, so nobody may dispose
/// the states; their native handles are freed by finalizers once the last request has let go. States that find the pool full are disposed.
/// </remarks>
[DebuggerDisplay("{Id}")]
internal sealed class SigningKey(string id, byte[] material)
{
    private const int MaxPooledStates = 64;

    [DebuggerBrowsable(DebuggerBrowsableState.Never)]
    private readonly byte[] _material = material;

    // Twice the processors: a rented state is held for under a microsecond, so more threads than that hold one only by preemption.
    private readonly IncrementalHash?[] _pool =
        new IncrementalHash?[Math.Min(MaxPooledStates, (int)BitOperations.RoundUpToPowerOf2((uint)Environment.ProcessorCount * 2))];

    public string Id { get; } = id;

    [DebuggerBrowsable(DebuggerBrowsableState.Never)]
    public ReadOnlySpan<byte> Material => _material;

    /// <summary>Writes the 32 bytes of HMAC-SHA256.</summary>
    public void ComputeMac(ReadOnlySpan<byte> message, Span<byte> mac)
    {
        var state = Rent();
        state.AppendData(message);
        state.GetHashAndReset(mac);
        Return(state);
    }

    private IncrementalHash Rent()
    {
        // Starting at the processor's own slot keeps threads off each other's cache lines; looking at all of them keeps a thread that
        // changed processors from making a state that it does not need.
        var start = Thread.GetCurrentProcessorId();
        for (var i = 0; i < _pool.Length; i++)
        {
            ref var slot = ref _pool[(start + i) & (_pool.Length - 1)];
            if (Volatile.Read(ref slot) is not null && Interlocked.Exchange(ref slot, null) is { } state)
                return state;
        }

        return IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, _material);
    }

    private void Return(IncrementalHash state)
    {
        var start = Thread.GetCurrentProcessorId();
        for (var i = 0; i < _pool.Length; i++)
        {
            ref var slot = ref _pool[(start + i) & (_pool.Length - 1)];
            if (Volatile.Read(ref slot) is null && Interlocked.CompareExchange(ref slot, state, null) is null)
                return;
        }

        state.Dispose();
    }
}
