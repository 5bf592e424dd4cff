using System.Buffers.Binary;
using System.Globalization;
using Delivery.Edge.Cache;

namespace Delivery.Edge.Tests.Cache;

/// <summary>Three marks of purges, each at most the next: acknowledged, in effect in this life, called.</summary>
internal struct PurgeMarks
{
    private long _acknowledged, _inEffect, _called;

    public readonly long Acknowledged => Volatile.Read(in _acknowledged);

    public readonly long InEffect => Volatile.Read(in _inEffect);

    public readonly long Called => Volatile.Read(in _called);

    public void Call(long sequence) => Volatile.Write(ref _called, Math.Max(_called, sequence));

    public void TakeEffect(long sequence) => Volatile.Write(ref _inEffect, Math.Max(_inEffect, sequence));

    public void Acknowledge(long sequence)
    {
        Volatile.Write(ref _acknowledged, Math.Max(_acknowledged, sequence));
        TakeEffect(sequence);
    }

    public void Reopened() => Volatile.Write(ref _inEffect, _acknowledged);
}

/// <summary>A pin as it should be.</summary>
internal sealed class PinModel(ObjectHash version, long generation)
{
    public ObjectHash Version => version;

    public long Generation => generation;

    public bool IsAcknowledged { get; set; }

    public HashSet<int> OnDisk { get; } = [];

    public bool HeadInRam { get; set; }
}

/// <summary>A path as it should be: what its versions hold, what was promised of it.</summary>
internal sealed class PathModel(int number)
{
    public const int MetadataBytes = 300;

    private const string Validator = "v";

    private int _writing;
    private volatile bool _noWrites;

    private readonly string _path = string.Create(CultureInfo.InvariantCulture, $"/audio/{number}.ogg");

    public PurgeMarks Purges;

    /// <summary>Held by who changes or judges pins and purges; reads and writes go on.</summary>
    public SemaphoreSlim Gate { get; } = new(1);

    public ObjectHash Hash => ObjectHash.OfPath(_path);

    public int Chunks => 1 + number * 7 % 6;

    public long Length => (Chunks - 1L) * Chunk.SizeBytes + LengthOf(Chunks - 1);

    public PinModel? Pin { get; set; }

    /// <summary>The version whose pin was ended last.</summary>
    public ObjectHash? Unpinned { get; set; }

    public ObjectHash Version(long generation) => ObjectHash.OfVersion(_path, Validator, generation);

    public ChunkKey Key(long generation, int index) => new(Version(generation), index);

    public int LengthOf(int index) => index < Chunks - 1 ? Chunk.SizeBytes : 1 + (number * 7919 + 13) * 31 % Chunk.SizeBytes;

    public long MostCalled(in PurgeMarks all) => Math.Max(Purges.Called, all.Called);

    public bool TryBeginWrite()
    {
        Interlocked.Increment(ref _writing);
        if (!_noWrites)
            return true;
        EndWrite();
        return false;
    }

    public void EndWrite() => Interlocked.Decrement(ref _writing);

    /// <summary>Returns when no write is under way, and none begins.</summary>
    public void StopWrites()
    {
        _noWrites = true;
        // Orders the flag before the look at the writers, as their increment orders theirs before the look at the flag.
        Interlocked.MemoryBarrier();
        SpinWait.SpinUntil(() => Volatile.Read(ref _writing) == 0);
    }

    public void AllowWrites() => _noWrites = false;

    public void Reopened()
    {
        Purges.Reopened();
        if (Pin is { } pin)
            pin.HeadInRam = false;
    }

    public byte[] Metadata(long generation)
    {
        var bytes = new byte[MetadataBytes];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, generation);
        bytes.AsSpan(sizeof(long)).Fill((byte)number);
        return bytes;
    }

    public bool IsMetadata(ReadOnlySpan<byte> bytes, out long generation)
    {
        generation = GenerationIn(bytes);
        return generation >= 0 && !bytes[sizeof(long)..].ContainsAnyExcept((byte)number);
    }

    public static long GenerationIn(ReadOnlySpan<byte> bytes) => BinaryPrimitives.ReadInt64LittleEndian(bytes);

    public override string ToString() => _path;
}
