using System.Diagnostics;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Tests.Cache.HotTier;
using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.DiskTier;

[Collection(nameof(Alone))]
public sealed class DiskTierFaultTests : IDisposable
{
    private readonly FaultyDisk _disk = new();
    private readonly TierWorld _world;

    public DiskTierFaultTests() => _world = new(_disk);

    public void Dispose()
    {
        _world.Close();
        Assert.Equal(0, _disk.OpenFiles);
    }

    [Theory]
    [InlineData(FaultyDisk.EIO, (int)DiskOperations.Write)]
    [InlineData(FaultyDisk.EIO, (int)DiskOperations.Sync)]
    [InlineData(FaultyDisk.ENOSPC, (int)DiskOperations.Write)]
    [InlineData(FaultyDisk.ENOSPC, (int)DiskOperations.Create)]
    [InlineData(FaultyDisk.EROFS, (int)DiskOperations.Changes)]
    public void WritesFail_GoOffWithOneLineAndComeBackByThemselves(int errno, int on)
    {
        _world.PutAll(0, 10);
        using (_disk.Fail((DiskOperations)on, errno))
        {
            // More than a segment, so that files are opened and sealed too.
            for (var i = 100; i < 160 || _world.Tier.State == DiskTierState.On; i++)
            {
                _world.Tier.Write(TierWorld.Record(i), TierWorld.Content(i), pinned: false);
                _world.Written();
                Assert.True(i < 2000, "Writes stay on.");
            }

            Assert.Equal(DiskTierState.WritesOff, _world.Tier.State);
            Assert.False(_world.Tier.Write(TierWorld.Record(9999), TierWorld.Content(9999), pinned: false));
            Assert.True(_world.Tier.Counters.NotAdmitted(NotAdmittedReason.WritesOff) > 0);
            // Reads are another matter; a full disk alone gives up its oldest segment.
            if (errno != FaultyDisk.ENOSPC && _world.Tier.Counters.EvictedBytes == 0)
                Assert.Equal(10, _world.CountPresent(0, 10));
            Assert.Equal(1, _world.Log.Count(1050));
            Assert.Equal(0, _world.Log.Count(1051));
        }

        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        Assert.Equal((1, 1), (_world.Log.Count(1050), _world.Log.Count(1051)));
        _world.PutAll(3000, 40);
        Assert.Equal(40, _world.CountPresent(3000, 40));
        _world.Reopen();
        Assert.Equal(40, _world.CountPresent(3000, 40));
    }

    [Fact]
    public void FullOnce_OldestSegmentMakesRoom()
    {
        _world.PutAll(0, 93);
        var used = _world.Tier.UsedBytes;
        using var rule = _disk.Fail(DiskOperations.Write, FaultyDisk.ENOSPC, times: 1, written: 50_000);
        _world.PutAll(100, 1);
        Assert.True(_world.Has(100));
        Assert.False(_world.Has(0));
        Assert.True(_world.Has(60));
        Assert.True(_world.Tier.UsedBytes < used);
        Assert.Equal(DiskTierState.On, _world.Tier.State);
        // The half record that the failure left behind is written over.
        _world.PutAll(101, 5);
        _world.Reopen();
        Assert.Equal(6, _world.CountPresent(100, 6));
    }

    [Fact]
    public void FilesThatCannotBeUnlinked_CountAsUsedAndTheRestIsServed()
    {
        _world.PutAll(0, 248);
        using (_disk.Fail(DiskOperations.Delete, FaultyDisk.EIO, c => c.Name != DiskProbe.FileName))
        {
            for (var i = 1000; i < 1200; i++)
            {
                _world.Tier.Write(TierWorld.Record(i), TierWorld.Content(i), pinned: false);
                _world.Written();
            }

            Assert.True(_world.Tier.UsedBytes <= TierWorld.Small.Bytes);
            Assert.Equal(_disk.List().Where(n => n != DiskProbe.FileName).Sum(LengthOf), _world.Tier.UsedBytes);
            // Some segments went for nothing, not all of them.
            Assert.InRange(_world.CountPresent(0, 248), 100, 248);
        }

        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        _world.PutAll(2000, 40);
        Assert.Equal(40, _world.CountPresent(2000, 40));
        Assert.Equal(_disk.List().Where(n => n != DiskProbe.FileName).Sum(LengthOf), _world.Tier.UsedBytes);
    }

    [Fact]
    public void FewWriteErrors_CostTheirChunksOnly()
    {
        _world.PutAll(0, 3);
        using (_disk.Fail(DiskOperations.Write, FaultyDisk.EIO, times: 3, written: 1000))
            _world.PutAll(10, 6);
        Assert.Equal(DiskTierState.On, _world.Tier.State);
        Assert.Equal(3, _world.CountPresent(10, 6));
        Assert.Equal(3, _world.Tier.Counters.NotAdmitted(NotAdmittedReason.Failed));
        Assert.Equal(3, _world.CountPresent(0, 3));
        _world.Reopen();
        Assert.Equal(6, _world.CountPresent(0, 3) + _world.CountPresent(10, 6));
        Assert.Equal(0, _world.Log.Count(1050));
    }

    [Fact]
    public void ReadsFail_GoOffWithOneLineAndComeBackByThemselves()
    {
        _world.PutAll(0, 30);
        using (_disk.Fail(DiskOperations.Reads, FaultyDisk.EIO))
        {
            for (var i = 0; i < 30; i++)
                Assert.False(_world.Has(i));
            Assert.Equal(DiskTierState.Off, _world.Tier.State);
            Assert.False(_world.Tier.Contains(TierWorld.Key(1), Chunk.SizeBytes));
            TierWorld.Until(() => _world.Tier.Counters.Reads(DiskReadOutcome.Failed) == 8, "not counted");
            Assert.Equal(22, _world.Tier.Counters.Reads(DiskReadOutcome.Off));
            Assert.Equal((1, 0), (_world.Log.Count(1050), _world.Log.Count(1051)));
        }

        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        Assert.Equal(30, _world.CountPresent(0, 30));
        Assert.Equal((1, 1), (_world.Log.Count(1050), _world.Log.Count(1051)));
        Assert.Empty(_world.Damaged);
    }

    [Fact]
    public void OneBadPlace_IsGivenUpAtTheSecondFailureAndFetchedAgain()
    {
        _world.PutAll(0, 5);
        var bad = SegmentFormat.SegmentHeaderBytes + 2L * SegmentFormat.MaxRecordBytes;
        using var rule = _disk.Fail(DiskOperations.Reads, FaultyDisk.EIO, c => c.Offset <= bad && bad < c.Offset + c.Length);
        Assert.False(_world.Has(2));
        Assert.True(_world.Tier.Contains(TierWorld.Key(2), Chunk.SizeBytes));
        Assert.False(_world.Has(2));
        Assert.False(_world.Tier.Contains(TierWorld.Key(2), Chunk.SizeBytes));
        TierWorld.Until(() => _world.Damaged.Count == 1, "not reported");
        Assert.Equal(TierWorld.Key(2), _world.Damaged.Single().Key);
        Assert.Equal(4, _world.CountPresent(0, 5));
        _world.PutAll(2, 1);
        Assert.True(_world.Has(2));
        Assert.Equal(DiskTierState.On, _world.Tier.State);
    }

    [Fact]
    public async Task SlowDisk_ReadsAreMissesInTime_AndComeBackByThemselves()
    {
        _world.Close();
        _world.Options = TierWorld.Small with { ReadTimeout = TimeSpan.FromMilliseconds(80), FailuresToTurnOff = 4 };
        _world.Open();
        _world.PutAll(0, 30);
        _disk.InPageCache = false;
        using (_disk.Stall(DiskOperations.Read))
        {
            var watch = Stopwatch.StartNew();
            for (var i = 0; i < 4; i++)
                Assert.False(await _world.Tier.ReadAsync(TierWorld.Key(i), Chunk.SizeBytes, 0, new byte[1000]));
            // Four time-outs of 80 ms, a quarter late at most, and a machine that is busy: far from the seconds of the stall.
            Assert.InRange(watch.ElapsedMilliseconds, 4 * 80, 2000);
            TierWorld.Until(() => _world.Tier.State == DiskTierState.Off, "reads are still on");
            watch.Restart();
            for (var i = 0; i < 1000; i++)
                Assert.False(await _world.Tier.ReadAsync(TierWorld.Key(i % 30), Chunk.SizeBytes, 0, new byte[1000]));
            Assert.InRange(watch.ElapsedMilliseconds, 0, 1000);
        }

        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        TierWorld.Until(() => _world.Tier.ReadsInUse == 0, "buffers do not come back");
        Assert.Equal(30, _world.CountPresent(0, 30));
        Assert.Equal((1, 1), (_world.Log.Count(1050), _world.Log.Count(1051)));
    }

    [Theory]
    [InlineData((int)DiskOperations.Write)]
    [InlineData((int)DiskOperations.Sync)]
    public void HangingWrites_AreRefusedAtOnce_AndComeBackByThemselves(int on)
    {
        _world.Close();
        _world.Options = TierWorld.Small with { ReadTimeout = TimeSpan.FromMilliseconds(100), WriteStall = TimeSpan.FromMilliseconds(100), WriteBufferBytes = 4 * SegmentFormat.MaxRecordBytes };
        _world.Open();
        _world.PutAll(0, 10);
        using (var stall = _disk.Stall((DiskOperations)on, c => c.Name != DiskProbe.FileName))
        {
            _world.Tier.Write(TierWorld.Record(100), TierWorld.Content(100), pinned: false);
            TierWorld.Until(() => stall.Waiting > 0, "the writer does not hang");
            var before = _world.Tier.Counters.NotAdmitted(NotAdmittedReason.NoBuffer);
            var watch = Stopwatch.StartNew();
            var content = TierWorld.Content(0);
            for (var i = 101; i < 1000; i++)
                _world.Tier.Write(TierWorld.Record(i), content, pinned: false);
            Assert.InRange(watch.ElapsedMilliseconds, 0, 2000);
            Assert.InRange(_world.Tier.WriteBuffersInUse, 1, 4);
            var (none, off) = (_world.Tier.Counters.NotAdmitted(NotAdmittedReason.NoBuffer), _world.Tier.Counters.NotAdmitted(NotAdmittedReason.WritesOff));
            Assert.InRange(none - before + off, 890, 899);
            TierWorld.Until(() => _world.Log.Count(1050) > 0, "nobody is told");
            Assert.Equal(10, _world.CountPresent(0, 10));
        }

        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        _world.Written();
        _world.PutAll(2000, 10);
        Assert.Equal(10, _world.CountPresent(2000, 10));
    }

    [Fact]
    public void DiskThatHangs_DoesNotHoldTheEndForLong()
    {
        var world = new TierWorld(_disk, TierWorld.Small with { StopWait = TimeSpan.FromMilliseconds(300) }, open: false);
        _world.Close();
        world.Open();
        world.PutAll(0, 1);
        var stall = _disk.Stall(DiskOperations.Write);
        world.Tier.Write(TierWorld.Record(1), TierWorld.Content(1), pinned: false);
        TierWorld.Until(() => stall.Waiting > 0, "the writer does not hang");
        var watch = Stopwatch.StartNew();
        world.Tier.Dispose();
        Assert.InRange(watch.ElapsedMilliseconds, 300, 10_000);
        stall.Dispose();
        TierWorld.Until(() => world.Tier.WriteBuffersInUse == 0, "the writer does not end");
        _disk.Kill();
        _world.Open();
        Assert.True(_world.Has(0));
    }

    [Fact]
    public void Scrubber_FindsWhatNobodyReads()
    {
        _world.PutAll(0, 31);
        _world.Close();
        _disk.FlipBit(Segment.NameOf(0), SegmentFormat.SegmentHeaderBytes + 3L * SegmentFormat.MaxRecordBytes + 5000, 2);
        _disk.FlipBit(Segment.NameOf(0), SegmentFormat.SegmentHeaderBytes + 9L * SegmentFormat.MaxRecordBytes + 30, 2);
        _world.Options = TierWorld.Small with { ScrubBytesPerSecond = 1L << 34 };
        _world.Open();
        TierWorld.Until(() => _world.Damaged.Count == 2, "not found");
        Assert.Equal(new[] { TierWorld.Record(3), TierWorld.Record(9) }.ToHashSet(), _world.Damaged.ToHashSet());
        Assert.False(_world.Tier.Contains(TierWorld.Key(3), Chunk.SizeBytes));
        Assert.Equal(29, _world.CountPresent(0, 31));
        Assert.True(_world.Tier.Counters.ScrubbedBytes > 0);
        // Repaired by a fill, it is good.
        _world.PutAll(3, 1);
        Assert.True(_world.Has(3));
    }

    [Fact]
    public void Scrubber_StandsBackWhileRequestsRead()
    {
        _world.PutAll(0, 31);
        _world.Close();
        _world.Options = TierWorld.Small with { ScrubBytesPerSecond = 1L << 34, RetryInterval = TimeSpan.FromMilliseconds(1) };
        _disk.InPageCache = false;
        using (var stall = _disk.Stall(DiskOperations.Read, c => c.Offset % 8 == 0 && c.Length < 60_000 && c.Length > 10_000))
        {
            _world.Open();
            var read = _world.Tier.ReadAsync(TierWorld.Key(1), Chunk.SizeBytes, 0, new byte[1000]).AsTask();
            TierWorld.Until(() => stall.Waiting == 1, "the read does not hang");
            // A record may have been under way; then nothing more for as long as the read waits.
            var before = _world.Tier.Counters.ScrubbedBytes;
            SpinWait.SpinUntil(() => _world.Tier.Counters.ScrubbedBytes > before + SegmentFormat.MaxRecordBytes, TimeSpan.FromMilliseconds(200));
            Assert.InRange(_world.Tier.Counters.ScrubbedBytes, before, before + SegmentFormat.MaxRecordBytes);
            Assert.False(read.IsCompleted);
        }

        _disk.InPageCache = true;
        TierWorld.Until(() => _world.Tier.Counters.ScrubbedBytes > 40L * SegmentFormat.MaxRecordBytes, "does not go on");
    }

    private long LengthOf(string name)
    {
        using var file = _disk.Open(name, write: false);
        return file.Length;
    }
}
