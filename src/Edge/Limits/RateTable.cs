using System.Numerics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace Delivery.Edge.Limits;

/// <summary>
/// Two rates for each of many keys, requests and bytes, by GCRA (ITU-T I.371, the virtual scheduling form of a leaky bucket): what a key has used is one number, the time at which it will
/// have been paid for. A fixed table, no locks, no allocation.
/// </summary>
/// <remarks>
/// <code>
/// bucket = 64 bytes, one cache line = 4 cells        cell  = requests word, bytes word
/// word   = tag of the key (20 bits) | time at which it is paid (44 bits of 2^-20 s)
/// </code>
/// Each word is changed by one compare-and-swap and carries its tag, so that no key ever meets half of another's. A new key takes the cell that owes least in its bucket. So what a full bucket
/// forgets is what somebody has used, to his advantage; nobody pays for another. Two keys share a cell only when 20 bits of tag and the bucket agree: one pair in 2^20 per
/// bucket, and the hash is seeded anew at each start, so that nobody can aim. The 44 bits turn over in 194 days; a time further ahead than <see cref="MaxDebt"/> is
/// from before the turn and means nothing.
/// </remarks>
internal sealed class RateTable
{
    /// <summary>Debt in bytes is forgiven beyond this, so that no address is shut out for longer, whoever has it next.</summary>
    public static readonly TimeSpan MaxDebt = TimeSpan.FromMinutes(10);

    private const int Ways = 4;
    private const int WordsPerBucket = 2 * Ways;
    private const int TimeBits = 44;
    private const ulong TimeMask = (1UL << TimeBits) - 1;
    private const ulong UnitsPerSecond = 1 << 20;

    // Under contention for one bucket a request that loses this many times passes uncounted: losing means that others were counted.
    private const int MaxAttempts = 8;

    private static readonly ulong MaxAhead = Units(MaxDebt);

    private readonly ulong[] _words;
    private readonly int _first;
    private readonly ulong _seed = BitConverter.ToUInt64(RandomNumberGenerator.GetBytes(sizeof(ulong)));
    private readonly int _bucketShift;
    private readonly ulong _perRequest;
    private readonly double _perByte;
    private readonly ulong _burst;

    /// <param name="cells">How many keys are known at once, some; a power of two, at least 16.</param>
    /// <param name="requestsPerSecond">0: not held.</param>
    /// <param name="bytesPerSecond">0: not held.</param>
    /// <param name="burst">How long at its rate a key may take at once: 1 s or more.</param>
    public RateTable(int cells, int requestsPerSecond, long bytesPerSecond, TimeSpan burst)
    {
        var buckets = cells / Ways;
        _bucketShift = 64 - BitOperations.Log2((uint)buckets);
        // Pinned and started at a line, so that a bucket is one line.
        _words = GC.AllocateArray<ulong>((buckets + 1) * WordsPerBucket, pinned: true);
        _first = (int)((64 - Marshal.UnsafeAddrOfPinnedArrayElement(_words, 0) % 64) % 64 / sizeof(ulong));
        _perRequest = requestsPerSecond == 0 ? 0 : UnitsPerSecond / (ulong)requestsPerSecond;
        _perByte = bytesPerSecond == 0 ? 0 : (double)UnitsPerSecond / bytesPerSecond;
        _burst = Units(burst);
    }

    /// <summary>A time as this table counts it.</summary>
    public static ulong Units(TimeSpan time) => (ulong)(time.TotalSeconds * UnitsPerSecond);

    /// <summary>Counts one request; false when the key has used up its requests or bytes.</summary>
    /// <param name="key">Who asks; any bits.</param>
    /// <param name="now"><see cref="Units"/> of a monotonic clock.</param>
    /// <param name="wait">When false: <see cref="Units"/> until the next request may pass.</param>
    /// <param name="isBytes">When false: whether bytes are what is owed.</param>
    public bool TryTake(ulong key, ulong now, out ulong wait, out bool isBytes)
    {
        (wait, isBytes) = (0, false);
        var hash = Hash(key);
        var tag = hash & ~TimeMask;
        for (var attempt = 0; attempt < MaxAttempts; attempt++)
        {
            ref var cell = ref Find(hash, tag, now, out var seen);
            var known = (seen & ~TimeMask) == tag;
            ref var bytes = ref System.Runtime.CompilerServices.Unsafe.Add(ref cell, 1);
            var owed = known ? Ahead(seen, now) : 0;
            if (known && _perByte > 0)
            {
                var owedBytes = OwedBytes(Volatile.Read(ref bytes), tag, now);
                if (owedBytes > _burst)
                {
                    (wait, isBytes) = (owedBytes - _burst, true);
                    return false;
                }
            }

            if (_perRequest > 0 && owed + _perRequest > _burst)
            {
                wait = owed + _perRequest - _burst;
                return false;
            }

            if (Interlocked.CompareExchange(ref cell, tag | ((now + owed + _perRequest) & TimeMask), seen) != seen)
                continue;
            if (!known)
                Volatile.Write(ref bytes, tag | (now & TimeMask));
            return true;
        }

        return true;
    }

    /// <summary>Counts bytes that were sent. Nobody is held by this; the next request is.</summary>
    public void Charge(ulong key, ulong now, long sentBytes)
    {
        if (_perByte == 0)
            return;
        var cost = (ulong)(sentBytes * _perByte);
        var hash = Hash(key);
        var tag = hash & ~TimeMask;
        for (var attempt = 0; attempt < MaxAttempts; attempt++)
        {
            ref var cell = ref Find(hash, tag, now, out var seen);
            ref var bytes = ref System.Runtime.CompilerServices.Unsafe.Add(ref cell, 1);
            // Pushed out while it was being served: it comes back, so that what it takes is seen.
            if ((seen & ~TimeMask) != tag && Interlocked.CompareExchange(ref cell, tag | (now & TimeMask), seen) != seen)
                continue;
            var before = Volatile.Read(ref bytes);
            var owed = Math.Min(OwedBytes(before, tag, now) + cost, MaxAhead);
            if (Interlocked.CompareExchange(ref bytes, tag | ((now + owed) & TimeMask), before) == before)
                return;
        }
    }

    // The key's cell, else the one that owes least: its requests word, and what stood there.
    private ref ulong Find(ulong hash, ulong tag, ulong now, out ulong seen)
    {
        var bucket = MemoryMarshal.CreateSpan(ref _words[_first + (int)(Mix(hash) >> _bucketShift) * WordsPerBucket], WordsPerBucket);
        var least = 0;
        var leastOwed = ulong.MaxValue;
        seen = 0;
        for (var i = 0; i < bucket.Length; i += 2)
        {
            var word = Volatile.Read(ref bucket[i]);
            if ((word & ~TimeMask) == tag && word != 0)
            {
                seen = word;
                return ref bucket[i];
            }

            var owed = Math.Max(Ahead(word, now), OwedBytes(Volatile.Read(ref bucket[i + 1]), word & ~TimeMask, now));
            if (owed < leastOwed)
                (least, leastOwed, seen) = (i, owed, word);
        }

        return ref bucket[least];
    }

    private static ulong OwedBytes(ulong word, ulong tag, ulong now) => (word & ~TimeMask) == tag ? Ahead(word, now) : 0;

    private static ulong Ahead(ulong word, ulong now)
    {
        var ahead = (word - now) & TimeMask;
        return ahead <= MaxAhead ? ahead : 0;
    }

    // The tag is the hash's upper bits, the bucket those of another round.
    private ulong Hash(ulong key) => Mix(key ^ _seed);

    // SplitMix64's finalizer: every bit of the input reaches every bit of the output.
    private static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
    }
}
