using System.Numerics;
using System.Runtime.CompilerServices;
using FASTER.core;

namespace Delivery.Edge.Cache.DiskTier;

using Session = ClientSession<ChunkKey, ChunkLocation, DirectoryLook, ChunkLocation, Empty, DirectoryFunctions>;

/// <summary>
/// Which record on disk holds a chunk: a FASTER store in RAM on a null device, a ring of 48-byte records, first in, first out. Any thread looks and
/// marks; one thread appends (the disk tier's writer). What the ring is about to drop, the writer must have dealt with (<see cref="NextBegin"/>,
/// <see cref="DropBefore"/>): that is <see cref="SegmentTable"/>'s part.
/// </summary>
internal sealed class ChunkDirectory : IDisposable
{
    /// <summary>Record info (8), key (24), location (16).</summary>
    public const int RecordBytes = 48;

    private const long SmallestLogBytes = 256 << 10;

    private readonly DirectoryFunctions _functions = new();
    private readonly NullDevice _device = new();
    private readonly FasterKV<ChunkKey, ChunkLocation> _store;
    private readonly Session _writer;
    private readonly SessionPool<Session> _readers;
    private readonly long _logBytes;

    /// <param name="maxChunks">Entries that must fit: the ring has room for a quarter more, rounded up to a power of two.</param>
    public ChunkDirectory(int maxChunks)
    {
        MaxChunks = maxChunks;
        _logBytes = Math.Max(SmallestLogBytes, (long)BitOperations.RoundUpToPowerOf2((ulong)maxChunks * RecordBytes * 5 / 4));
        PageBytes = Math.Min(1 << 20, _logBytes / 32);
        // 16 bytes of index for each entry: FASTER puts 7 in a bucket of 64.
        var indexBytes = Math.Max(16L << 10, (long)BitOperations.RoundUpToPowerOf2((ulong)maxChunks * 8) * 2);
        TotalBytes = _logBytes + indexBytes;
        _store = new(new FasterKVSettings<ChunkKey, ChunkLocation>
        {
            IndexSize = indexBytes,
            LogDevice = _device,
            PageSize = PageBytes,
            MemorySize = _logBytes,
            SegmentSize = Math.Max(PageBytes, 1L << 30),
            ConcurrencyControlMode = ConcurrencyControlMode.None,
            ReadCopyOptions = ReadCopyOptions.None,
            EqualityComparer = new ChunkKeyComparer(),
            CheckpointDir = null,
        });
        _writer = NewSession();
        _readers = new(NewSession);
    }

    public int MaxChunks { get; }

    public long PageBytes { get; }

    /// <summary>RAM of ring and index.</summary>
    public long TotalBytes { get; }

    /// <summary>Where the next entry goes; entries at lower addresses are older.</summary>
    public long TailAddress => _store.Log.TailAddress;

    /// <summary>What lies below is forgotten.</summary>
    public long BeginAddress => _store.Log.BeginAddress;

    /// <summary>
    /// The begin address that the next <see cref="Append"/> needs. FASTER drops the oldest page when the tail enters the page after the last one of
    /// the ring, and may do so one page early: two pages are given up before that.
    /// </summary>
    public long NextBegin => (_store.Log.TailAddress / PageBytes + 2) * PageBytes - _logBytes;

    public int SessionsInUse => _readers.InUse;

    public bool TryFind(in ChunkKey key, out ChunkLocation location) => Visit(key, DirectoryAction.Look, default, out location);

    /// <summary>Finds the entry and counts a use of it.</summary>
    public bool TryUse(in ChunkKey key, out ChunkLocation location) => Visit(key, DirectoryAction.Use, default, out location);

    /// <summary>Takes the entry back, unless a newer one has replaced it; false when it was not there.</summary>
    public bool Kill(in ChunkKey key, in ChunkLocation expected) => Visit(key, DirectoryAction.Kill, expected, out _);

    /// <summary>Notes that a read failed; true when one had failed before.</summary>
    public bool Fail(in ChunkKey key, in ChunkLocation expected) => Visit(key, DirectoryAction.Fail, expected, out var before) && before.HasFailed;

    public void RestartUses(in ChunkKey key, in ChunkLocation expected) => Visit(key, DirectoryAction.Restart, expected, out _);

    /// <summary>Says where the chunk lies from now on. Only the writer calls this, and only when <see cref="NextBegin"/> is not above <see cref="BeginAddress"/>.</summary>
    public void Append(ChunkKey key, ChunkLocation location) => _writer.Upsert(ref key, ref location);

    /// <summary>
    /// Forgets the entries below the address. Before FASTER needs their page: a look must find them absent, never ask the null device for them.
    /// </summary>
    public void DropBefore(long address) => _store.Log.ShiftBeginAddress(address);

    public void Dispose()
    {
        _writer.Dispose();
        _readers.Dispose();
        _store.Dispose();
        _device.Dispose();
    }

    private bool Visit(in ChunkKey key, DirectoryAction action, in ChunkLocation expected, out ChunkLocation location)
    {
        var session = _readers.Rent();
        var look = new DirectoryLook { Action = action, Expected = expected };
        location = default;
        var status = session.Read(ref Unsafe.AsRef(in key), ref look, ref location);
        // As in the hot tier: were a read ever pending, it would answer into a stack frame that is gone.
        if (status.IsPending)
            throw new InvalidOperationException("FASTER asked the null device for a directory entry.");
        _readers.Return(session);
        return status.Found;
    }

    private Session NewSession() => _store.For(_functions).NewSession<DirectoryFunctions>(_functions);
}
