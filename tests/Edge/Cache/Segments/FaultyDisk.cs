using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.Segments;

[Flags]
internal enum DiskOperations
{
    List = 1,
    Open = 2,
    Create = 4,
    Delete = 8,
    Rename = 16,
    SyncFolder = 32,
    Read = 64,
    ReadCached = 128,
    Write = 256,
    Sync = 512,
    Truncate = 1024,

    /// <summary>What leaves a trace on the disk.</summary>
    Changes = Create | Delete | Rename | SyncFolder | Write | Sync | Truncate,
    Reads = Read | ReadCached,
    All = List | Open | Changes | Reads,
}

/// <summary>One call of the disk, as a rule sees it. Offset and length are those of reads and writes.</summary>
internal readonly record struct DiskCall(DiskOperations Operation, string Name, long Offset = 0, int Length = 0);

/// <summary>
/// The real disk or the one in memory, with rules in front: errors, stalls, flipped bits, and the power going off at a chosen change. Thread-safe. Without an inner disk
/// it is a <see cref="MemoryDisk"/>.
/// </summary>
internal sealed class FaultyDisk(ICacheDisk inner) : ICacheDisk
{
    public const int EIO = DiskErrors.EIO, ENOSPC = DiskErrors.ENOSPC, EROFS = DiskErrors.EROFS;

    private readonly Lock _gate = new();
    private volatile DiskRule[] _rules = [];
    private int _changes;
    private int _lastChange = int.MaxValue;

    public FaultyDisk()
        : this(new MemoryDisk())
    {
    }

    /// <summary>False: nothing is in the page cache, so <see cref="ICacheFile.TryReadCached"/> finds nothing.</summary>
    public bool InPageCache { get; set; } = true;

    /// <summary>Changes (<see cref="DiskOperations.Changes"/>) so far.</summary>
    public int Changes => Volatile.Read(ref _changes);

    public int OpenFiles => Memory.OpenFiles;

    private MemoryDisk Memory => inner as MemoryDisk ?? throw new InvalidOperationException("Only the disk in memory can lose power.");

    /// <summary>
    /// Fails calls with an errno until the rule is disposed of: those that match, after <paramref name="skip"/> of them, <paramref name="times"/> times. A write may leave its first
    /// <paramref name="written"/> bytes behind.
    /// </summary>
    public DiskRule Fail(DiskOperations on, int errno, Predicate<DiskCall>? when = null, int skip = 0, int times = int.MaxValue, int written = 0) =>
        Add(new(this, on, when, skip, times) { Errno = errno, Written = written });

    /// <summary>Only counts calls (<see cref="DiskRule.Hits"/>).</summary>
    public DiskRule Count(DiskOperations on, Predicate<DiskCall>? when = null) => Add(new(this, on, when, 0, int.MaxValue));

    /// <summary>Holds calls back until the rule is disposed of. A read of the page cache does not wait: it finds nothing.</summary>
    public DiskRule Stall(DiskOperations on, Predicate<DiskCall>? when = null, int skip = 0, int times = int.MaxValue) =>
        Add(new(this, on, when, skip, times) { Gate = new() });

    /// <summary>Flips one bit of what a read returns, on its way; the file is not touched.</summary>
    public DiskRule FlipOnRead(long offset, int bit, Predicate<DiskCall>? when = null, int times = int.MaxValue) =>
        Add(new(this, DiskOperations.Reads, c => offset >= c.Offset && offset < c.Offset + c.Length && when?.Invoke(c) != false, 0, times) { Flip = (offset, bit) });

    /// <summary>Flips one bit of a file.</summary>
    public void FlipBit(string name, long offset, int bit)
    {
        using var file = inner.Open(name, write: true);
        Span<byte> one = stackalloc byte[1];
        Assert.Equal(1, file.Read(offset, one));
        one[0] ^= (byte)(1 << bit);
        file.Write(offset, one);
        file.Sync();
    }

    /// <summary>
    /// The power goes off in the change that comes after the next <paramref name="changes"/>: it is done, but not durable (a sync is not done), and fails, as does every call
    /// from then on, until <see cref="PowerCut"/>.
    /// </summary>
    public void LosePowerAfter(int changes)
    {
        lock (_gate)
            _lastChange = _changes + changes;
    }

    /// <summary>Takes away what was not durable, by chance as the seed says, and switches the power on again.</summary>
    public void PowerCut(int seed)
    {
        Memory.PowerCut(seed);
        lock (_gate)
            _lastChange = int.MaxValue;
    }

    /// <summary>The process ends and the machine goes on: nothing is lost, handles from before are dead. Power that was about to go off stays on.</summary>
    public void Kill()
    {
        Memory.Kill();
        lock (_gate)
            _lastChange = int.MaxValue;
    }

    public IReadOnlyList<string> List() => Call(new(DiskOperations.List, ""), inner.List);

    public ICacheFile Open(string name, bool write) => Call(new(DiskOperations.Open, name), () => new FaultyFile(this, name, inner.Open(name, write)));

    public ICacheFile Create(string name) => Call(new(DiskOperations.Create, name), () => new FaultyFile(this, name, inner.Create(name)));

    public void Delete(string name) => Call(new(DiskOperations.Delete, name), () => inner.Delete(name));

    public void Rename(string from, string to) => Call(new(DiskOperations.Rename, from), () => inner.Rename(from, to));

    public void SyncFolder() => Call(new(DiskOperations.SyncFolder, ""), inner.SyncFolder);

    internal void Lift(DiskRule rule)
    {
        lock (_gate)
            _rules = [.. _rules.Where(r => r != rule)];
    }

    private DiskRule Add(DiskRule rule)
    {
        lock (_gate)
            _rules = [.. _rules, rule];
        return rule;
    }

    private void Call(DiskCall call, Action action) => Call(call, () =>
    {
        action();
        return true;
    });

    private T Call<T>(DiskCall call, Func<T> action)
    {
        var last = Before(call);
        if (!last)
            return action();
        // The change that the power goes off in.
        if (call.Operation is not (DiskOperations.Sync or DiskOperations.SyncFolder))
            action();
        throw new PowerLostException();
    }

    // True: the power goes off in this change.
    private bool Before(in DiskCall call)
    {
        var last = false;
        if ((call.Operation & DiskOperations.Changes) != 0)
        {
            lock (_gate)
            {
                last = _changes == _lastChange;
                if (_changes > _lastChange)
                    throw new PowerLostException();
                _changes++;
            }
        }
        else if (Volatile.Read(ref _changes) > Volatile.Read(ref _lastChange))
        {
            throw new PowerLostException();
        }

        foreach (var rule in _rules)
        {
            if (rule.Flip is null && rule.Applies(call))
                rule.Act();
        }

        return last;
    }

    private void Flip(in DiskCall call, Span<byte> bytes, long offset)
    {
        foreach (var rule in _rules)
        {
            if (rule.Flip is var (at, bit) && at >= offset && at < offset + bytes.Length && rule.Applies(call))
                bytes[(int)(at - offset)] ^= (byte)(1 << bit);
        }
    }

    private sealed class FaultyFile(FaultyDisk disk, string name, ICacheFile inner) : ICacheFile
    {
        public long Length => inner.Length;

        public int Read(long offset, Span<byte> destination)
        {
            var call = new DiskCall(DiskOperations.Read, name, offset, destination.Length);
            disk.Before(call);
            var read = inner.Read(offset, destination);
            disk.Flip(call, destination[..read], offset);
            return read;
        }

        public bool TryReadCached(long offset, Span<byte> first, Span<byte> second, Span<byte> third)
        {
            var call = new DiskCall(DiskOperations.ReadCached, name, offset, first.Length + second.Length + third.Length);
            if (!disk.InPageCache || disk._rules.Any(r => r.Hinders && r.Matches(call)) || !inner.TryReadCached(offset, first, second, third))
                return false;
            disk.Flip(call, first, offset);
            disk.Flip(call, second, offset + first.Length);
            disk.Flip(call, third, offset + first.Length + second.Length);
            return true;
        }

        public void Write(long offset, ReadOnlySpan<byte> bytes)
        {
            bool last;
            try
            {
                last = disk.Before(new(DiskOperations.Write, name, offset, bytes.Length));
            }
            catch (RuleException e)
            {
                inner.Write(offset, bytes[..Math.Min(e.Written, bytes.Length)]);
                throw;
            }

            inner.Write(offset, bytes);
            if (last)
                throw new PowerLostException();
        }

        public void Sync() => disk.Call(new(DiskOperations.Sync, name), inner.Sync);

        public void Truncate(long length) => disk.Call(new(DiskOperations.Truncate, name), () => inner.Truncate(length));

        public void Dispose() => inner.Dispose();
    }
}

/// <summary>A rule in force; disposing of it lifts it and lets go whoever it holds back.</summary>
internal sealed class DiskRule(FaultyDisk disk, DiskOperations on, Predicate<DiskCall>? when, int skip, int times) : IDisposable
{
    private static readonly TimeSpan StallBound = TimeSpan.FromSeconds(60);

    private int _seen, _waiting;

    public int Errno { get; init; }

    public int Written { get; init; }

    public ManualResetEventSlim? Gate { get; init; }

    public (long Offset, int Bit)? Flip { get; init; }

    /// <summary>Calls that it has acted on.</summary>
    public int Hits => Math.Clamp(Volatile.Read(ref _seen) - skip, 0, times);

    /// <summary>Calls that it holds back now.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    public void Dispose()
    {
        disk.Lift(this);
        Gate?.Set();
    }

    internal bool Matches(in DiskCall call) => (on & call.Operation) != 0 && when?.Invoke(call) != false;

    internal bool Applies(in DiskCall call)
    {
        if (!Matches(call))
            return false;
        var seen = Interlocked.Increment(ref _seen);
        return seen > skip && seen - skip <= times;
    }

    internal bool Hinders => Errno != 0 || Gate is not null;

    internal void Act()
    {
        if (!Hinders)
            return;
        if (Gate is null)
            throw new RuleException(Errno, Written);
        Interlocked.Increment(ref _waiting);
        var released = Gate.Wait(StallBound);
        Interlocked.Decrement(ref _waiting);
        if (!released)
            throw new IOException($"Held back for {StallBound}: the test has forgotten to let go.");
    }
}

internal sealed class RuleException(int errno, int written) : IOException($"The test's disk fails with errno {errno}.", errno)
{
    public int Written => written;
}
