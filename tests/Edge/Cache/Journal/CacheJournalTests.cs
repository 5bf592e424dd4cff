using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.Journal;

public class CacheJournalTests
{
    private const long Now = 1_800_000_000;

    private static readonly TimeProvider Clock = new At(Now);

    [Fact]
    public void Open_NothingThere_IsFreshAndThenNoMore()
    {
        var disk = new FaultyDisk();
        Guid id;
        using (var journal = CacheJournal.Open(disk, Clock, out var fresh))
        {
            Assert.True(fresh);
            Assert.NotEqual(Guid.Empty, journal.CacheId);
            Assert.Empty(journal.Purges);
            id = journal.CacheId;
        }

        using var again = CacheJournal.Open(disk, Clock, out var freshAgain);
        Assert.False(freshAgain);
        Assert.Equal(id, again.CacheId);
        Assert.Equal(1, disk.OpenFiles);
    }

    [Fact]
    public void Open_AfterChanges_ShowsTheirSum()
    {
        var disk = new FaultyDisk();
        var (first, second) = (Pin(1), Pin(2));
        using (var journal = CacheJournal.Open(disk, Clock, out _))
        {
            journal.Purge(Path(1), 5);
            journal.PurgeAll(7);
            journal.Purge(Path(1), 6);
            journal.Purge(Path(2), 9);
            journal.Purge(Path(2), 8);
            journal.Purge(Path(3), 10);
            Assert.True(journal.Pin(first));
            Assert.True(journal.Pin(second));
            Assert.True(journal.Pin(second with { Length = 4 }));
            journal.Unpin(first.Version);
            Check(journal);
        }

        using var again = CacheJournal.Open(disk, Clock, out var fresh);
        Assert.False(fresh);
        Check(again);

        void Check(CacheJournal journal)
        {
            Assert.Equal(7, journal.PurgedAllAt);
            Assert.Equal(new Dictionary<ObjectHash, long> { [Path(2)] = 9, [Path(3)] = 10 }, journal.Purges.ToDictionary());
            Assert.Equal([second with { Length = 4 }], journal.Pins);
            Assert.Equal([7L, 9, 10, 7], new[] { 1, 2, 3, 4 }.Select(i => journal.GenerationOf(Path(i))));
        }
    }

    [Fact]
    public void ChangesThatChangeNothing_WriteNothing()
    {
        var disk = new FaultyDisk();
        using var journal = CacheJournal.Open(disk, Clock, out _);
        journal.Purge(Path(1), 5);
        journal.PurgeAll(3);
        journal.Pin(Pin(1));
        var changes = disk.Changes;
        journal.Purge(Path(1), 5);
        journal.Purge(Path(1), 4);
        journal.Purge(Path(2), 3);
        journal.PurgeAll(2);
        journal.Pin(Pin(1));
        journal.Unpin(Pin(9).Version);
        Assert.Equal(changes, disk.Changes);
    }

    [Fact]
    public void Open_ExpiredPins_AreDropped()
    {
        var disk = new FaultyDisk();
        using (var journal = CacheJournal.Open(disk, Clock, out _))
        {
            journal.Pin(Pin(1) with { ExpiresUnixSeconds = Now + 10 });
            journal.Pin(Pin(2) with { ExpiresUnixSeconds = Now + 11 });
        }

        using var again = CacheJournal.Open(disk, new At(Now + 10), out _);
        Assert.Equal([Pin(2).Version], again.Pins.Select(p => p.Version));
    }

    [Fact]
    public void Compaction_HistoryOutweighsState_KeepsTheFileSmall()
    {
        var disk = new FaultyDisk();
        using var journal = CacheJournal.Open(disk, Clock, out _);
        for (var sequence = 1; sequence <= 5000; sequence++)
            journal.Purge(Path(sequence % 10), sequence);
        Assert.InRange(Length(disk), 11 * JournalEntry.Bytes, 1100 * JournalEntry.Bytes);
        Assert.Equal([CacheJournal.FileName], disk.List());
        Assert.Equal(1, disk.OpenFiles);
        using var again = CacheJournal.Open(disk, Clock, out var fresh);
        Assert.False(fresh);
        Assert.Equal(Enumerable.Range(4991, 10).Select(i => (long)i), again.Purges.Values.Order());
    }

    [Fact]
    public void Purges_BeyondTheBound_BecomeOneOfEverything()
    {
        var disk = new FaultyDisk();
        var bytes = new byte[(1 + CacheJournal.MaxPurges) * JournalEntry.Bytes];
        JournalEntry.WriteHeader(bytes, Guid.NewGuid());
        for (var i = 0; i < CacheJournal.MaxPurges; i++)
            JournalEntry.Purge(Path(i), i == 77 ? 2_000_000 : i + 1).Write(bytes.AsSpan((1 + i) * JournalEntry.Bytes));
        using (var file = disk.Create(CacheJournal.FileName))
            file.Write(0, bytes);

        using (var journal = CacheJournal.Open(disk, Clock, out var fresh))
        {
            Assert.False(fresh);
            Assert.Equal(CacheJournal.MaxPurges, journal.Purges.Count);
            journal.Purge(Path(5), 1_500_000);
            Assert.Equal(0, journal.PurgedAllAt);
            journal.Purge(Path(-1), 1_600_000);
            Assert.Equal(2_000_000, journal.PurgedAllAt);
            Assert.Empty(journal.Purges);
            Assert.Equal(2 * JournalEntry.Bytes, Length(disk));
        }

        using (var again = CacheJournal.Open(disk, Clock, out _))
            Assert.Equal(2_000_000, again.GenerationOf(Path(-1)));

        // More than a writer leaves are not believed.
        var more = new FaultyDisk();
        using (var file = more.Create(CacheJournal.FileName))
        {
            file.Write(0, bytes);
            JournalEntry.Purge(Path(-1), 1).Write(bytes);
            file.Write(bytes.Length, bytes.AsSpan(0, JournalEntry.Bytes));
        }

        CacheJournal.Open(more, Clock, out var untrusted).Dispose();
        Assert.True(untrusted);
    }

    [Fact]
    public void Pins_BeyondTheBound_AreRefusedUnlessSomeHaveExpired()
    {
        var disk = new FaultyDisk();
        using (var file = disk.Create(CacheJournal.FileName))
        {
            var bytes = new byte[(1 + CacheJournal.MaxPins) * JournalEntry.Bytes];
            JournalEntry.WriteHeader(bytes, Guid.NewGuid());
            for (var i = 0; i < CacheJournal.MaxPins; i++)
                JournalEntry.Pin(Pin(i) with { ExpiresUnixSeconds = Now + (i == 7 ? 1 : 100) }).Write(bytes.AsSpan((1 + i) * JournalEntry.Bytes));
            file.Write(0, bytes);
        }

        var time = new At(Now);
        using var journal = CacheJournal.Open(disk, time, out _);
        Assert.False(journal.Pin(Pin(-1)));
        Assert.True(journal.Pin(Pin(3)));
        time.Seconds++;
        Assert.True(journal.Pin(Pin(-1)));
        Assert.False(journal.Pin(Pin(-2)));
    }

    [Fact]
    public void ManyThreads_EveryAcknowledgedChangeIsThere()
    {
        var disk = new FaultyDisk();
        using (var journal = CacheJournal.Open(disk, Clock, out _))
        {
            Parallel.For(0, 8, thread =>
            {
                for (var i = 1; i <= 500; i++)
                {
                    journal.Purge(Path(thread), i);
                    Assert.Equal(i, journal.GenerationOf(Path(thread)));
                    journal.Pin(Pin(thread * 1000 + i % 3) with { Length = i });
                }
            });
        }

        disk.PowerCut(1);
        using var again = CacheJournal.Open(disk, Clock, out var fresh);
        Assert.False(fresh);
        Assert.Equal(Enumerable.Repeat(500L, 8), again.Purges.Values);
        Assert.Equal(24, again.Pins.Count);
    }

    [Fact]
    public void Open_EveryLength_LosesOnlyTheEntryThatWasCut()
    {
        var golden = CacheGolden.Journal();
        for (var length = 0; length <= golden.Length; length++)
        {
            var disk = DiskWith(golden[..length]);
            using var journal = CacheJournal.Open(disk, Clock, out var fresh);
            Assert.Equal(length < JournalEntry.Bytes, fresh);
            var entries = fresh ? 0 : length / JournalEntry.Bytes - 1;
            Assert.Equal((1 + entries) * JournalEntry.Bytes, Length(disk));
            Assert.Equal(entries >= 1 ? CacheGolden.PurgeSequence : 0, journal.Purges.GetValueOrDefault(CacheGolden.PurgedPath));
            Assert.Equal(entries is 3 or 4 ? 1 : 0, journal.Pins.Count);
            // Usable: the next change stands where the cut one was.
            journal.Purge(Path(1), 50);
            using var again = CacheJournal.Open(disk, Clock, out fresh);
            Assert.False(fresh);
            Assert.Equal(50, again.Purges[Path(1)]);
        }
    }

    [Fact]
    public void Open_EveryBitFlipped_IsNeverBelieved()
    {
        var golden = CacheGolden.Journal();
        for (var bit = 0; bit < golden.Length * 8; bit++)
        {
            var bytes = golden.ToArray();
            bytes[bit / 8] ^= (byte)(1 << (bit % 8));
            using var journal = CacheJournal.Open(DiskWith(bytes), Clock, out var fresh);
            Assert.True(fresh, $"bit {bit}");
            Assert.NotEqual(CacheGolden.CacheId, journal.CacheId);
            Assert.Empty(journal.Purges);
        }
    }

    [Fact]
    public void Open_LastEntryHasLengthButNoBytes_IsCutOff()
    {
        var golden = CacheGolden.Journal();
        var disk = DiskWith([.. golden, .. new byte[JournalEntry.Bytes]]);
        using var journal = CacheJournal.Open(disk, Clock, out var fresh);
        Assert.False(fresh);
        Assert.Equal(golden.Length, Length(disk));
        // Two of them, or one with something behind it, no append leaves.
        CacheJournal.Open(DiskWith([.. golden, .. new byte[2 * JournalEntry.Bytes]]), Clock, out fresh).Dispose();
        Assert.True(fresh);
        CacheJournal.Open(DiskWith([.. golden, .. new byte[JournalEntry.Bytes + 1]]), Clock, out fresh).Dispose();
        Assert.True(fresh);
    }

    [Fact]
    public void Open_RandomBytes_AreNotBelieved()
    {
        var random = new Random(4);
        for (var i = 0; i < 500; i++)
        {
            var bytes = new byte[random.Next(600)];
            random.NextBytes(bytes);
            using var journal = CacheJournal.Open(DiskWith(bytes), Clock, out var fresh);
            Assert.True(fresh);
        }
    }

    [Fact]
    public void Open_DiskFails_LeavesTheJournalAsItIs()
    {
        var disk = DiskWith(CacheGolden.Journal());
        foreach (var operation in new[] { DiskOperations.Open, DiskOperations.Read, DiskOperations.Sync, DiskOperations.SyncFolder })
        {
            using (disk.Fail(operation, FaultyDisk.EIO))
                Assert.ThrowsAny<IOException>(() => CacheJournal.Open(disk, Clock, out _));
            Assert.Equal(0, disk.OpenFiles);
        }

        using var journal = CacheJournal.Open(disk, Clock, out var fresh);
        Assert.False(fresh);
        Assert.Equal(CacheGolden.CacheId, journal.CacheId);
    }

    [Theory]
    [InlineData(DiskOperations.Write, FaultyDisk.EIO)]
    [InlineData(DiskOperations.Write, FaultyDisk.ENOSPC)]
    [InlineData(DiskOperations.Sync, FaultyDisk.EIO)]
    [InlineData(DiskOperations.Write | DiskOperations.Truncate, FaultyDisk.EROFS)]
    internal void Append_DiskFails_IsRefusedAndLaterWorks(DiskOperations failing, int errno)
    {
        for (var written = 0; written <= JournalEntry.Bytes; written += 8)
        {
            var disk = new FaultyDisk();
            using (var journal = CacheJournal.Open(disk, Clock, out _))
            {
                journal.Purge(Path(1), 1);
                using (disk.Fail(failing, errno, written: written))
                {
                    Assert.ThrowsAny<IOException>(() => journal.Purge(Path(2), 2));
                    Assert.ThrowsAny<IOException>(() => journal.Purge(Path(3), 3));
                    Assert.Equal([1L], journal.Purges.Values);
                }

                journal.Purge(Path(4), 4);
            }

            using var again = CacheJournal.Open(disk, Clock, out var fresh);
            Assert.False(fresh);
            Assert.Equal([1L, 4], again.Purges.Values.Order());
            Assert.Equal([CacheJournal.FileName], disk.List());
        }
    }

    [Fact]
    public void Append_SyncFails_OnlyANewFileIsTrusted()
    {
        var disk = new FaultyDisk();
        using var journal = CacheJournal.Open(disk, Clock, out _);
        using (disk.Fail(DiskOperations.Sync, FaultyDisk.EIO, times: 1))
            Assert.ThrowsAny<IOException>(() => journal.Purge(Path(1), 1));
        using var renamed = disk.Fail(DiskOperations.Rename, FaultyDisk.EIO, times: 1);
        Assert.ThrowsAny<IOException>(() => journal.Purge(Path(1), 1));
        journal.Purge(Path(1), 1);
        Assert.Equal(1, renamed.Hits);
        Assert.Equal(1, disk.OpenFiles);
    }

    [Fact]
    public void Unpin_AfterAPinThatFailed_HoldsEvenIfThePinReachedTheDisk()
    {
        var disk = new FaultyDisk();
        using (var journal = CacheJournal.Open(disk, Clock, out _))
        {
            using (disk.Fail(DiskOperations.Write, FaultyDisk.EIO, times: 1, written: JournalEntry.Bytes))
                Assert.ThrowsAny<IOException>(() => journal.Pin(Pin(1)));
            journal.Unpin(Pin(1).Version);
        }

        using var again = CacheJournal.Open(disk, Clock, out _);
        Assert.Empty(again.Pins);
    }

    [Fact]
    public void KillBetweenRenameAndFolderSync_TheNextRunMakesTheRenameDurable()
    {
        for (var seed = 0; seed < 20; seed++)
        {
            var disk = new FaultyDisk();
            var journal = CacheJournal.Open(disk, Clock, out _);
            using (disk.Fail(DiskOperations.Sync, FaultyDisk.EIO, times: 1))
                Assert.ThrowsAny<IOException>(() => journal.Purge(Path(1), 1));
            using (disk.Fail(DiskOperations.SyncFolder, FaultyDisk.EIO))
                Assert.ThrowsAny<IOException>(() => journal.Purge(Path(1), 1));
            disk.Kill();
            CacheJournal.Open(disk, Clock, out _).Purge(Path(2), 2);
            disk.PowerCut(seed);
            using var again = CacheJournal.Open(disk, Clock, out var fresh);
            Assert.False(fresh);
            Assert.Equal(2, again.GenerationOf(Path(2)));
        }
    }

    [Fact]
    public void PowerCut_InEveryChangeOfTheFirstOpen_LeavesSomethingToOpen()
    {
        var changes = Changes(disk => CacheJournal.Open(disk, Clock, out _).Dispose());
        for (var cut = 0; cut < changes; cut++)
        {
            for (var seed = 0; seed < 20; seed++)
            {
                var disk = new FaultyDisk();
                disk.LosePowerAfter(cut);
                Assert.ThrowsAny<IOException>(() => CacheJournal.Open(disk, Clock, out _));
                disk.PowerCut(seed);
                using var journal = CacheJournal.Open(disk, Clock, out _);
                journal.Purge(Path(1), 1);
                Assert.Equal(1, disk.OpenFiles);
            }
        }
    }

    [Fact]
    public void PowerCut_InEveryChange_KeepsWhatWasAcknowledged()
    {
        // So much history that the script crosses a rewrite, which the bounds of the file's length prove.
        var history = new byte[1020 * JournalEntry.Bytes];
        JournalEntry.WriteHeader(history, CacheGolden.CacheId);
        for (var i = 1; i < 1020; i++)
            JournalEntry.Purge(Path(1), i).Write(history.AsSpan(i * JournalEntry.Bytes));
        var changes = Changes(disk => Run(disk, new()));
        Assert.InRange(changes, 60, 200);
        for (var cut = 0; cut <= changes; cut++)
        {
            for (var seed = 0; seed < 8; seed++)
            {
                var disk = DiskWith(history);
                var state = new Model(1019);
                disk.LosePowerAfter(cut);
                Run(disk, state);
                disk.PowerCut(seed * 1000 + cut);
                using var journal = CacheJournal.Open(disk, Clock, out var fresh);
                Assert.False(fresh, $"cut {cut}, seed {seed}");
                state.Check(journal, $"cut {cut}, seed {seed}");
            }
        }

        int Changes(Action<FaultyDisk> run)
        {
            var disk = DiskWith(history);
            var before = disk.Changes;
            run(disk);
            Assert.InRange(Length(disk), JournalEntry.Bytes, 60 * JournalEntry.Bytes);
            return disk.Changes - before;
        }

        static void Run(FaultyDisk disk, Model state)
        {
            try
            {
                using var journal = CacheJournal.Open(disk, Clock, out _);
                for (var i = 0; i < 40; i++)
                    state.Do(journal, i % 4, i % 3, 2000 + i);
            }
            catch (IOException)
            {
            }
        }
    }

    [Fact]
    public void RandomFaults_NeverLoseWhatWasAcknowledged()
    {
        for (var seed = 0; seed < 400; seed++)
        {
            var random = new Random(seed);
            var disk = new FaultyDisk();
            var state = new Model(0);
            CacheJournal.Open(disk, Clock, out _).Dispose();
            long sequence = 0;
            for (var run = 0; run < 6; run++)
            {
                using var journal = CacheJournal.Open(disk, Clock, out var fresh);
                Assert.False(fresh, $"seed {seed}, run {run}");
                state.Check(journal, $"seed {seed}, run {run}");
                state.Adopt(journal);
                if (random.Next(2) == 0)
                    disk.LosePowerAfter(random.Next(30));
                for (var i = 0; i < 30; i++)
                {
                    var on = (DiskOperations)(1 << random.Next(11)) | (DiskOperations)(1 << random.Next(11));
                    using var fault = random.Next(3) == 0 ? disk.Fail(on, FaultyDisk.EIO, skip: random.Next(3), written: random.Next(JournalEntry.Bytes + 1)) : null;
                    try
                    {
                        state.Do(journal, random.Next(5), random.Next(4), ++sequence);
                    }
                    catch (IOException)
                    {
                    }
                }

                if (random.Next(3) > 0)
                    disk.PowerCut(random.Next());
                else
                    disk.Kill();
            }
        }
    }

    private static int Changes(Action<FaultyDisk> run)
    {
        var disk = new FaultyDisk();
        run(disk);
        return disk.Changes;
    }

    private static ObjectHash Path(int i) => new((ulong)i + 1, 0x70617468);

    private static PinEntry Pin(int i) => new(new((ulong)i + 1, 0x70696E), Path(i), 1000 + i, Now + 1000);

    private static long Length(FaultyDisk disk)
    {
        using var file = disk.Open(CacheJournal.FileName, write: false);
        return file.Length;
    }

    private static FaultyDisk DiskWith(byte[] journal)
    {
        var disk = new FaultyDisk();
        using var file = disk.Create(CacheJournal.FileName);
        file.Write(0, journal);
        file.Sync();
        disk.SyncFolder();
        return disk;
    }

    private sealed class At(long seconds) : TimeProvider
    {
        public long Seconds { get; set; } = seconds;

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.FromUnixTimeSeconds(Seconds);
    }

    /// <summary>What was acknowledged, and what was tried since and may be there or not.</summary>
    private sealed class Model
    {
        private readonly Dictionary<int, (long Acknowledged, long Tried)> _purges = [];
        private readonly Dictionary<int, List<PinEntry?>> _pins = [];
        private (long Acknowledged, long Tried) _all;

        public Model(long firstPurged = 0)
        {
            for (var i = 0; i < 4; i++)
            {
                _purges[i] = i == 1 ? (firstPurged, firstPurged) : default;
                _pins[i] = [null];
            }
        }

        public void Do(CacheJournal journal, int kind, int subject, long sequence)
        {
            switch (kind)
            {
                case 0:
                case 1:
                    _purges[subject] = _purges[subject] with { Tried = sequence };
                    journal.Purge(Path(subject), sequence);
                    _purges[subject] = (sequence, sequence);
                    return;
                case 2:
                    var pin = Pin(subject) with { Length = sequence };
                    _pins[subject].Add(pin);
                    journal.Pin(pin);
                    _pins[subject] = [pin];
                    return;
                case 3:
                    _pins[subject].Add(null);
                    journal.Unpin(Pin(subject).Version);
                    _pins[subject] = [null];
                    return;
                default:
                    _all = _all with { Tried = sequence };
                    journal.PurgeAll(sequence);
                    _all = (sequence, sequence);
                    return;
            }
        }

        public void Check(CacheJournal journal, string when)
        {
            Assert.True(journal.PurgedAllAt >= _all.Acknowledged && journal.PurgedAllAt <= _all.Tried, $"{when}: everything purged at {journal.PurgedAllAt}, not {_all}");
            foreach (var (i, (acknowledged, tried)) in _purges)
            {
                var found = journal.GenerationOf(Path(i));
                Assert.True(found >= Math.Max(acknowledged, _all.Acknowledged) && found <= Math.Max(tried, _all.Tried), $"{when}: path {i} purged at {found}, not {acknowledged} to {tried}");
            }

            foreach (var (i, possible) in _pins)
            {
                PinEntry? found = journal.Pins.Where(p => p.Version == Pin(i).Version).Select(p => (PinEntry?)p).SingleOrDefault();
                Assert.True(possible.Contains(found), $"{when}: pin {i} is {found}");
            }
        }

        /// <summary>What a journal has shown is durable from then on.</summary>
        public void Adopt(CacheJournal journal)
        {
            _all = (journal.PurgedAllAt, journal.PurgedAllAt);
            for (var i = 0; i < 4; i++)
            {
                var generation = journal.GenerationOf(Path(i));
                _purges[i] = (generation, generation);
                _pins[i] = [journal.Pins.Where(p => p.Version == Pin(i).Version).Select(p => (PinEntry?)p).SingleOrDefault()];
            }
        }
    }
}
