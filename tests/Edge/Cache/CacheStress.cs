using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.InteropServices;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.HotTier;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Cache.Segments;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Cache;

/// <summary>
/// The model and the tasks of <see cref="ChunkCacheStressTests"/>. What it holds the cache to, whatever the disk does:
/// <list type="bullet">
/// <item>a read that succeeds gives the bytes of its key, and a read that failed writes nothing into the caller's memory afterwards</item>
/// <item>a path's generation is never below its last purge, in this life that was called, in later ones that was acknowledged, and never above the last one called</item>
/// <item>metadata is that of its path, from a generation that there was</item>
/// <item>where the disk is sound: a pinned chunk that was seen on disk stays readable, also after reopening; a pinned head that was seen in RAM stays there</item>
/// <item>pins and unpins that were acknowledged hold after reopening</item>
/// <item>at the end of every life no session, buffer or read is out, every admission was settled once, and budgets were kept</item>
/// </list>
/// </summary>
internal sealed class CacheStress : IDisposable
{
    private const int Paths = 160;
    private const int Tasks = 8;
    private const int BuffersPerTask = 4;
    private const long HotBytes = 24L << 20;
    private const long DiskBytes = 32L << 20;

    // Far below the share that pins may hold: none is refused.
    private const int MaxPins = 10;

    private static readonly long PinExpiry = DateTimeOffset.UtcNow.AddYears(1).ToUnixTimeSeconds();

    private readonly int _seed;
    private readonly Func<ICacheDisk> _openDisk;
    private readonly bool _holdsPins;
    private readonly EdgeOptions _options;
    private readonly PathModel[] _paths;
    private readonly Dictionary<ObjectHash, PathModel> _byHash;
    private readonly ConcurrentQueue<string> _failures = new();
    private readonly ConcurrentBag<ChunkBuffer> _buffers = [];
    private ChunkCache? _cache;
    private volatile bool _closing;
    private long _sequence;
    private PurgeMarks _all;
    private int _pins;
    private int _admissions;
    private int _settled;
    private int _buffersMade;
    private long _hotHits, _diskHits, _misses, _purges, _unwritten, _pinChecks, _headChecks, _metadataReads, _damaged;

    /// <param name="seed">Of every choice; what the threads make of them differs.</param>
    /// <param name="openDisk">The same disk each time.</param>
    /// <param name="holdsPins">The disk is sound, so pins must hold.</param>
    public CacheStress(int seed, Func<ICacheDisk> openDisk, bool holdsPins)
    {
        (_seed, _openDisk, _holdsPins) = (seed, openDisk, holdsPins);
        _options = new()
        {
            HotTierBytes = HotBytes,
            FillBufferBytes = Tasks * BuffersPerTask * (long)Chunk.SizeBytes,
            DiskTierBytes = DiskBytes,
            DiskWriteBufferBytes = 2L << 20,
            DiskReadThreads = 4,
            // On a sound disk a miss by time would excuse a lost chunk.
            DiskReadTimeout = holdsPins ? TimeSpan.FromSeconds(10) : TimeSpan.FromMilliseconds(40),
            DiskSyncInterval = TimeSpan.FromMilliseconds(20),
            DiskRetryInterval = TimeSpan.FromMilliseconds(40),
            ScrubBytesPerSecond = 64L << 20,
        };
        _paths = [.. Enumerable.Range(0, Paths).Select(number => new PathModel(number))];
        _byHash = _paths.ToDictionary(path => path.Hash);
    }

    private int LivesLived { get; set; }

    // Chunks of current generations that were on disk when a cache was opened.
    private int FoundAfterReopening { get; set; }

    private ChunkCache Cache => _cache!;

    /// <summary>Lives through <paramref name="lives"/> openings of the cache.</summary>
    /// <param name="lives">How many.</param>
    /// <param name="together">How long all of them take.</param>
    /// <param name="end">Ends each of them; calls <see cref="Close"/>.</param>
    /// <param name="weather">What befalls the disk meanwhile.</param>
    public async Task LiveAsync(int lives, TimeSpan together, Action end, Func<TimeSpan, CancellationToken, Task>? weather = null)
    {
        for (var life = 0; life < lives && _failures.IsEmpty; life++)
        {
            Open();
            using var stop = new CancellationTokenSource(together / lives);
            List<Task> tasks = [.. Enumerable.Range(0, Tasks).Select(task => Task.Run(() => WorkAsync((life * Tasks) + task, stop.Token), CancellationToken.None))];
            if (weather is not null)
                tasks.Add(Task.Run(() => weather(together / lives, stop.Token), CancellationToken.None));
            await Task.WhenAll(tasks);
            await SettledAsync();
            end();
            LivesLived++;
            AssertNoFailure();
        }

        Open();
        Close();
        AssertNoFailure();
    }

    /// <param name="first">What happens to the disk before: to what is found damaged from then on, nobody listens.</param>
    public void Close(Action? first = null)
    {
        _closing = true;
        first?.Invoke();
        _cache?.Dispose();
        _cache = null;
        _closing = false;
    }

    /// <summary>That the run has tested what it is for.</summary>
    public void AssertExercised()
    {
        var text = string.Create(CultureInfo.InvariantCulture,
            $"seed {_seed}: {LivesLived} lives; hits {_hotHits} RAM, {_diskHits} disk, {_misses} misses; {_purges} purges, {_unwritten} changes not written; {_pinChecks} pinned chunks and {_headChecks} heads checked; {_metadataReads} metadata; {_damaged} damaged; {FoundAfterReopening} found after reopening");
        TestContext.Current.TestOutputHelper?.WriteLine(text);
        Assert.True(_hotHits > 100 && _diskHits > 20 && _misses > 20 && _purges > 5 && _metadataReads > 0, text);
        if (_holdsPins)
            Assert.True(_pinChecks > 5 && _headChecks > 5 && FoundAfterReopening > 0, text);
        else
            Assert.True(_unwritten > 0, text);
    }

    public void Dispose() => _cache?.Dispose();

    private void AssertNoFailure() => Assert.True(_failures.IsEmpty, $"seed {_seed}, life {LivesLived}:\n{string.Join('\n', _failures.Take(10))}");

    private void Open()
    {
        _cache = ChunkCache.Open(_options, _openDisk, TimeProvider.System, NullLogger.Instance);
        _cache.MetadataOf = hash => _byHash[hash] is var path ? path.Metadata(_cache.GenerationOf(hash)) : [];
        _cache.Damaged = record =>
        {
            // A disk that is dead by then has nothing but damaged records.
            if (_closing)
                return;
            Interlocked.Increment(ref _damaged);
            Check(!_holdsPins, $"a sound disk gave a damaged record: {record}");
        };
        Check(Cache.Disk is not null, "the disk was not opened");
        _all.Reopened();
        var first = LivesLived == 0;
        foreach (var path in _paths)
        {
            path.Reopened();
            CheckGeneration(path, Cache.GenerationOf(path.Hash), path.Purges.InEffect, "after opening");
            CheckPinAfterOpening(path);
            for (var index = 0; !first && index < path.Chunks; index++)
            {
                if (Cache.IsStored(path.Key(Cache.GenerationOf(path.Hash), index), path.LengthOf(index)))
                    FoundAfterReopening++;
            }
        }

        _pins = _paths.Count(path => path.Pin is not null);
    }

    private void CheckPinAfterOpening(PathModel path)
    {
        if (path.Pin is { } pin)
        {
            var is_ = Cache.Pins.IsPinned(pin.Version);
            Check(is_ || !pin.IsAcknowledged, $"{path}: an acknowledged pin is gone");
            if (!is_)
                path.Pin = null;
        }

        if (path.Unpinned is { } unpinned && path.Pin?.Version != unpinned)
            Check(!Cache.Pins.IsPinned(unpinned), $"{path}: an acknowledged unpin is undone");
    }

    // After everything was asked to stop: what must come back, comes back.
    private async Task SettledAsync()
    {
        var cache = Cache;
        for (var started = Environment.TickCount64; ; await Task.Delay(2))
        {
            var disk = cache.Disk;
            var out_ = $"{_admissions - _settled} admissions, {_buffersMade - _buffers.Count} buffers, {cache.Hot.SessionsInUse} sessions of RAM, {disk?.SessionsInUse} of the disk, "
                + $"{disk?.ReadsInUse} reads, {disk?.WriteBuffersInUse} writes, {disk?.PromotionsInUse} promotions";
            if (_admissions == _settled && _buffersMade == _buffers.Count && cache.Hot.SessionsInUse == 0 && disk is null or { SessionsInUse: 0, ReadsInUse: 0, WriteBuffersInUse: 0, PromotionsInUse: 0 })
                return;
            if (Environment.TickCount64 - started > 20_000)
            {
                _failures.Enqueue($"out for 20 s after the load: {out_}");
                return;
            }
        }
    }

    private async Task WorkAsync(int number, CancellationToken stop)
    {
        var random = new Random(HashCode.Combine(_seed, number));
        var hand = new Hand();
        try
        {
            for (var i = 0; !stop.IsCancellationRequested && _failures.IsEmpty; i++)
            {
                var path = Pick(random);
                switch (random.Next(1000))
                {
                    case < 800:
                        await ReadAsync(path, random, hand);
                        break;
                    case < 900:
                        Write(path, random.Next(path.Chunks), random);
                        break;
                    case < 930:
                        await ReadMetadataAsync(path);
                        break;
                    case < 935:
                        Purge(path, random);
                        break;
                    case < 943:
                        Pin(path, random);
                        break;
                    case < 946:
                        Unpin(path);
                        break;
                    case < 999:
                        await CheckPinnedAsync(random, hand);
                        break;
                    default:
                        if (random.Next(50) == 0)
                            await PurgeAllAsync();
                        break;
                }

                CheckBudgets();
                if (i % 16 == 0)
                    await Task.Yield();
            }

            hand.CheckUntouched(this);
        }
        catch (Exception exception)
        {
            _failures.Enqueue($"task {number}: {exception}");
        }
    }

    private PathModel Pick(Random random)
    {
        // Some are asked much more than others.
        var at = random.NextDouble();
        return _paths[(int)(at * at * Paths)];
    }

    private async Task ReadAsync(PathModel path, Random random, Hand hand)
    {
        var generation = GenerationOf(path);
        var index = random.Next(path.Chunks);
        var key = path.Key(generation, index);
        if (await TryReadAsync(key, path.LengthOf(index), random, hand))
            return;
        Interlocked.Increment(ref _misses);
        // As the edge does: what is missed is filled, a while later.
        if (random.Next(4) == 0)
            await Task.Yield();
        if (random.Next(3) > 0)
            Write(path, index, random, generation);
    }

    private async Task<bool> TryReadAsync(ChunkKey key, int length, Random random, Hand hand)
    {
        var offset = random.Next(2) == 0 ? 0 : random.Next(length);
        var count = random.Next(3) == 0 ? length - offset : random.Next(1, length - offset + 1);
        hand.CheckUntouched(this);
        var memory = hand.Take(count);
        var fromDisk = false;
        if (!Cache.TryReadHot(key, length, offset, memory.Span))
        {
            fromDisk = true;
            if (!await Cache.ReadStoredAsync(key, length, offset, memory))
            {
                hand.Missed(count);
                return false;
            }
        }

        Interlocked.Increment(ref fromDisk ? ref _diskHits : ref _hotHits);
        Check(IsContent(key, offset, memory.Span), $"{key.Object}:{key.Index} [{offset}, {offset + count}) of {length}: wrong bytes from {(fromDisk ? "disk" : "RAM")}");
        return true;
    }

    private void Write(PathModel path, int index, Random random, long? generationAtStart = null)
    {
        if (!path.TryBeginWrite())
            return;
        WriteBegun(path, index, random, generationAtStart);
        path.EndWrite();
    }

    private void WriteBegun(PathModel path, int index, Random random, long? generationAtStart)
    {
        var sequence = Cache.Sequence;
        var generation = generationAtStart ?? GenerationOf(path);
        if (!_buffers.TryTake(out var buffer))
        {
            if (Interlocked.Increment(ref _buffersMade) > Tasks * BuffersPerTask)
            {
                Interlocked.Decrement(ref _buffersMade);
                return;
            }

            buffer = new();
        }

        var key = path.Key(generation, index);
        var record = new CacheRecord(key, path.Hash, Math.Max(sequence, generation), path.LengthOf(index));
        FillContent(key, 0, buffer.Content.Span[..record.Length]);
        Interlocked.Increment(ref _admissions);
        var settled = 0;
        Cache.Write(new(
            record,
            buffer.Seal(record),
            () =>
            {
                Check(Interlocked.Increment(ref settled) == 1, "an admission was settled twice");
                // The next user writes into it: whoever still reads from it is found out.
                buffer.Content.Span[..64].Fill(0xEE);
                _buffers.Add(buffer);
                Interlocked.Increment(ref _settled);
            },
            Cache.Pins.IsPinned(key.Object),
            ToMain: random.Next(20) == 0));
    }

    private async Task ReadMetadataAsync(PathModel path)
    {
        var generation = GenerationOf(path);
        var buffer = new byte[PathModel.MetadataBytes];
        var length = await Cache.ReadMetadataAsync(path.Hash, buffer);
        if (length == 0)
            return;
        Interlocked.Increment(ref _metadataReads);
        Check(length == buffer.Length && path.IsMetadata(buffer, out var from) && from <= path.MostCalled(_all), $"{path}: its metadata is not its own");
        if (PathModel.GenerationIn(buffer) < generation)
            Cache.DropMetadata(path.Hash);
    }

    private void Purge(PathModel path, Random random)
    {
        if (!path.Gate.Wait(0))
            return;
        try
        {
            // A purge whose answer was a failure is sent again as it was.
            var again = path.Purges.Called > path.Purges.Acknowledged && random.Next(2) == 0;
            PurgeLocked(path, again ? path.Purges.Called : Interlocked.Increment(ref _sequence));
        }
        finally
        {
            path.Gate.Release();
        }
    }

    private void PurgeLocked(PathModel path, long sequence)
    {
        path.Purges.Call(sequence);
        try
        {
            Cache.Purge(path.Hash, sequence);
            path.Purges.Acknowledge(sequence);
            Interlocked.Increment(ref _purges);
            EndPin(path);
        }
        catch (IOException) when (!_holdsPins)
        {
            path.Purges.TakeEffect(sequence);
            path.Pin?.IsAcknowledged = false;
            Interlocked.Increment(ref _unwritten);
        }

        CheckGeneration(path, Cache.GenerationOf(path.Hash), sequence, "after a purge");
    }

    private async Task PurgeAllAsync()
    {
        // Alone with all pins, which it ends.
        foreach (var path in _paths)
            await path.Gate.WaitAsync();
        try
        {
            var sequence = Interlocked.Increment(ref _sequence);
            _all.Call(sequence);
            try
            {
                Cache.PurgeAll(sequence);
                _all.Acknowledge(sequence);
                foreach (var path in _paths)
                    EndPin(path);
            }
            catch (IOException) when (!_holdsPins)
            {
                _all.TakeEffect(sequence);
                foreach (var path in _paths)
                    path.Pin?.IsAcknowledged = false;
                Interlocked.Increment(ref _unwritten);
            }
        }
        finally
        {
            foreach (var path in _paths)
                path.Gate.Release();
        }
    }

    // An acknowledged purge has ended it.
    private void EndPin(PathModel path)
    {
        if (path.Pin is not { } pin)
            return;
        Check(!Cache.Pins.IsPinned(pin.Version), $"{path}: pinned after an acknowledged purge");
        path.Unpinned = pin.IsAcknowledged ? pin.Version : null;
        path.Pin = null;
        Interlocked.Decrement(ref _pins);
    }

    private void Pin(PathModel path, Random random)
    {
        if (!path.Gate.Wait(0))
            return;
        try
        {
            if (path.Pin is not null || Volatile.Read(ref _pins) >= MaxPins)
                return;
            // A new version, pinned before a chunk of it can be written: nothing of it can then be on its way out.
            path.StopWrites();
            var sequence = Interlocked.Increment(ref _sequence);
            PurgeLocked(path, sequence);
            var version = path.Version(sequence);
            var pin = new PinModel(version, sequence);
            try
            {
                var outcome = Cache.Pin(new(version, path.Hash, path.Length, PinExpiry));
                Check(outcome.IsPinned, $"{path}: a pin within the share was refused: {outcome.Refusal}");
                pin.IsAcknowledged = true;
                Check(Cache.Pins.IsPinned(version), $"{path}: not pinned after the acknowledgement");
            }
            catch (IOException) when (!_holdsPins)
            {
                Interlocked.Increment(ref _unwritten);
                Check(!Cache.Pins.IsPinned(version), $"{path}: a pin that was not written down is in effect");
            }

            path.AllowWrites();
            path.Pin = pin;
            Interlocked.Increment(ref _pins);
            for (var index = 0; index < path.Chunks; index++)
                Write(path, index, random);
        }
        finally
        {
            path.AllowWrites();
            path.Gate.Release();
        }
    }

    private void Unpin(PathModel path)
    {
        if (!path.Gate.Wait(0))
            return;
        try
        {
            if (path.Pin is not null)
                UnpinLocked(path);
        }
        finally
        {
            path.Gate.Release();
        }
    }

    private void UnpinLocked(PathModel path)
    {
        var pin = path.Pin!;
        try
        {
            var was = Cache.Unpin(pin.Version);
            Check(was || !pin.IsAcknowledged, $"{path}: an acknowledged pin was not there to be ended");
            // Without a pin in effect nothing is written, so one that failed halfway may come back.
            path.Unpinned = was ? pin.Version : null;
            path.Pin = null;
            Interlocked.Decrement(ref _pins);
        }
        catch (IOException) when (!_holdsPins)
        {
            // Not in effect; after reopening it may be.
            pin.IsAcknowledged = false;
            Interlocked.Increment(ref _unwritten);
        }
    }

    private async Task CheckPinnedAsync(Random random, Hand hand)
    {
        var pinned = _paths.Where(p => p.Pin is not null).ToList();
        if (!_holdsPins || pinned.Count == 0)
            return;
        var path = pinned[random.Next(pinned.Count)];
        if (!path.Gate.Wait(0))
            return;
        try
        {
            if (path.Pin is not { } pin || Cache.GenerationOf(path.Hash) != pin.Generation)
                return;
            for (var index = 0; index < path.Chunks; index++)
            {
                var (key, length) = (path.Key(pin.Generation, index), path.LengthOf(index));
                // Twice, here and below: who looks while a chunk is moved may find the old place gone. That costs a question upstream, and no chunk.
                var isStored = Cache.IsStored(key, length) || Cache.IsStored(key, length);
                if (pin.OnDisk.Contains(index))
                {
                    Interlocked.Increment(ref _pinChecks);
                    Check(isStored, $"{path}:{index}: pinned, was on disk, and is gone");
                    // Whatever RAM has: the disk must have it too.
                    hand.CheckUntouched(this);
                    var memory = hand.Take(length);
                    var read = await Cache.ReadStoredAsync(key, length, 0, memory) || await Cache.ReadStoredAsync(key, length, 0, memory);
                    Check(read, $"{path}:{index}: pinned, on disk, and not readable");
                    Check(!read || IsContent(key, 0, memory.Span), $"{path}:{index}: wrong bytes of a pinned chunk");
                }
                else if (isStored)
                {
                    pin.OnDisk.Add(index);
                }
            }

            var head = path.Key(pin.Generation, 0);
            if (pin.HeadInRam)
            {
                Interlocked.Increment(ref _headChecks);
                Check(Cache.Hot.IsInMain(head) || Cache.Hot.IsInMain(head), $"{path}: pinned head was in RAM, and is gone");
            }

            pin.HeadInRam |= Cache.Hot.IsInMain(head);
        }
        finally
        {
            path.Gate.Release();
        }
    }

    private long GenerationOf(PathModel path)
    {
        // In this order: what is in effect by now binds what is looked up next.
        var opened = Cache.Disk is not null;
        var least = opened ? Math.Max(path.Purges.InEffect, _all.InEffect) : 0;
        var generation = Cache.GenerationOf(path.Hash);
        CheckGeneration(path, generation, least, "at a read");
        return generation;
    }

    private void CheckGeneration(PathModel path, long generation, long least, string when)
    {
        Check(generation >= Math.Max(least, 0), $"{path}: generation {generation} {when}, after a purge at {least}");
        Check(generation <= path.MostCalled(_all), $"{path}: generation {generation} {when}, and no purge was later than {path.MostCalled(_all)}");
    }

    private void CheckBudgets()
    {
        Check(Cache.Hot.UsedBytes <= HotBytes, $"RAM holds {Cache.Hot.UsedBytes}");
        if (Cache.Disk is { } disk)
            Check(disk.UsedBytes <= DiskBytes + DiskBytes / 50, $"the disk holds {disk.UsedBytes}");
    }

    private void Check(bool holds, string failure)
    {
        if (!holds)
            _failures.Enqueue(failure);
    }

    private static void FillContent(in ChunkKey key, int offset, Span<byte> bytes)
    {
        // Whole words, from the one that the offset lies in.
        var first = offset / sizeof(ulong);
        var words = new ulong[(offset % sizeof(ulong) + bytes.Length + sizeof(ulong) - 1) / sizeof(ulong)];
        var start = key.Object.Low ^ (key.Object.High << 1) ^ ((ulong)key.Index << 40);
        for (var i = 0; i < words.Length; i++)
        {
            var x = (start + (ulong)(first + i)) * 0x9E3779B97F4A7C15;
            words[i] = x ^ (x >> 29);
        }

        MemoryMarshal.AsBytes(words.AsSpan()).Slice(offset % sizeof(ulong), bytes.Length).CopyTo(bytes);
    }

    private static bool IsContent(in ChunkKey key, int offset, ReadOnlySpan<byte> bytes)
    {
        var expected = new byte[bytes.Length];
        FillContent(key, offset, expected);
        return bytes.SequenceEqual(expected);
    }

    /// <summary>A reader's memory. After a miss it is marked, and must stay marked: a read that came too late has no business there.</summary>
    private sealed class Hand
    {
        private const byte Mark = 0xA5;

        private readonly byte[] _bytes = new byte[Chunk.SizeBytes];
        private int _marked;

        public Memory<byte> Take(int count) => _bytes.AsMemory(0, count);

        public void Missed(int count)
        {
            _bytes.AsSpan(0, count).Fill(Mark);
            _marked = count;
        }

        public void CheckUntouched(CacheStress stress)
        {
            stress.Check(!_bytes.AsSpan(0, _marked).ContainsAnyExcept(Mark), "a read that was answered as a miss has written into its caller's memory later");
            _marked = 0;
        }
    }
}
