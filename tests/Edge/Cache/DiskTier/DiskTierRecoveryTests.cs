using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.DiskTier;

public sealed class DiskTierRecoveryTests : IDisposable
{
    // Records of 1,000 bytes: small enough to look at every place of a file.
    private const int Length = 1000;

    private static readonly int RecordBytes = SegmentFormat.RecordBytes(Length);

    private readonly FaultyDisk _disk = new();
    private readonly TierWorld _world;

    public DiskTierRecoveryTests() => _world = new(_disk);

    public void Dispose()
    {
        _world.Close();
        Assert.Equal(0, _disk.OpenFiles);
    }

    [Fact]
    public void RealFolder_SealedAtTheEnd_IsServedAfterTheStart()
    {
        using var temp = new TempDisk();
        using var world = new TierWorld(temp.Disk);
        world.PutAll(0, 50);
        world.PutMetadata(1, [1, 2, 3]);
        world.Close();
        world.Open();
        Assert.Equal(50, world.CountPresent(0, 50));
        world.PutAll(50, 50);
        world.Reopen();
        Assert.Equal(100, world.CountPresent(0, 100));
        Assert.Equal(0, world.Tier.Counters.DroppedSegments);
        world.Close();
        Assert.Equal(new DirectoryInfo(temp.Folder).GetFiles("segment-*").Sum(f => f.Length), world.Tier.UsedBytes);
    }

    [Fact]
    public void KilledProcess_UnsealedSegmentIsFollowedAndSealed()
    {
        _world.PutAll(0, 40);
        Crash();
        Assert.Equal(40, _world.CountPresent(0, 40));
        Assert.Equal(SegmentState.Sealed, Scan(Segment.NameOf(1)).State);
        _world.PutAll(40, 10);
        Assert.Equal(50, _world.CountPresent(0, 50));
    }

    [Fact]
    public void Truncated_AtEveryPlaceOfInterest_WholeRecordsBeforeItAreBack()
    {
        _world.PutAll(0, 3, Length);
        _world.Close();
        var name = Segment.NameOf(0);
        var whole = Bytes(name);
        var records = SegmentFormat.SegmentHeaderBytes + 3 * RecordBytes;
        var edges = new List<int> { 0, 1, SegmentFormat.SegmentHeaderBytes, records, whole.Length - SegmentFormat.TrailerBytes, whole.Length - 1 };
        for (var record = 0; record < 3; record++)
        {
            var start = SegmentFormat.SegmentHeaderBytes + record * RecordBytes;
            edges.AddRange([start, start + 1, start + SegmentFormat.RecordFixedBytes, start + SegmentFormat.RecordHeaderBytes(Length), start + RecordBytes - 1]);
        }

        foreach (var length in edges.SelectMany(e => new[] { e - 1, e, e + 1 }).Where(l => l >= 0 && l < whole.Length).Distinct())
        {
            Replace(name, whole[..length]);
            _world.Open();
            var expected = Math.Clamp((length - SegmentFormat.SegmentHeaderBytes) / RecordBytes, 0, 3);
            Assert.Equal(expected, Enumerable.Range(0, 3).Count(i => _world.Has(i, Length)));
            Assert.Equal(expected == 0 ? 0 : 1, _world.Tier.Segments);
            // What is left is sealed, and more can be added.
            _world.PutAll(10, 1, Length);
            _world.Reopen();
            Assert.Equal(expected + 1, new[] { 0, 1, 2, 10 }.Count(i => _world.Has(i, Length)));
            _world.Close();
            foreach (var other in _disk.List())
                _disk.Delete(other);
        }

        _world.Open();
    }

    [Fact]
    public void DamagedFooter_RecordsAreFollowedAndTheFooterIsWrittenAgain()
    {
        _world.PutAll(0, 3, Length);
        _world.Close();
        var name = Segment.NameOf(0);
        var whole = Bytes(name);
        for (var place = SegmentFormat.SegmentHeaderBytes + 3 * RecordBytes; place < whole.Length; place += 7)
        {
            Replace(name, whole);
            _disk.FlipBit(name, place, place % 8);
            _world.Open();
            Assert.Equal(3, Enumerable.Range(0, 3).Count(i => _world.Has(i, Length)));
            _world.Close();
            Assert.Equal(whole, Bytes(name));
        }

        _world.Open();
    }

    [Fact]
    public void DamagedSegmentHeader_FileIsDroppedAndTheRestServed()
    {
        _world.PutAll(0, 93);
        _world.Close();
        _disk.FlipBit(Segment.NameOf(1), 20, 3);
        _world.Open();
        Assert.Equal(62, _world.CountPresent(0, 93));
        Assert.False(_world.Has(40));
        Assert.Equal(1, _world.Tier.Counters.DroppedSegments);
        Assert.DoesNotContain(Segment.NameOf(1), _disk.List());
    }

    [Fact]
    public void MissingForeignAndOddFiles_AreNoObstacle()
    {
        _world.PutAll(0, 93);
        _world.Close();
        _disk.Delete(Segment.NameOf(1));
        Replace(Segment.NameOf(0x70), []);
        Replace("segment-zz", [1, 2, 3]);
        Replace("segment-7fffffffffffffff", [1, 2, 3]);
        Replace("segment-5", Bytes(Segment.NameOf(2)));
        Replace("journal", [9]);
        Replace(DiskProbe.FileName, [9]);
        // The bytes of one segment under the name of another: two files would claim the same records.
        Replace(Segment.NameOf(0x60), Bytes(Segment.NameOf(2)));
        _world.Open();
        Assert.Equal(62, _world.CountPresent(0, 93));
        var left = _disk.List();
        Assert.DoesNotContain(Segment.NameOf(0x60), left);
        Assert.DoesNotContain(Segment.NameOf(0x70), left);
        Assert.DoesNotContain(DiskProbe.FileName, left);
        Assert.Contains("journal", left);
        Assert.Contains("segment-zz", left);
        _world.PutAll(200, 40);
        Assert.Equal(40, _world.CountPresent(200, 40));
    }

    [Fact]
    public void OtherCacheOrFreshJournal_NothingIsServedAndTheFilesGo()
    {
        _world.PutAll(0, 40);
        _world.Close();
        _world.Open(cacheId: Guid.NewGuid());
        Assert.Equal(0, _world.CountPresent(0, 40));
        Assert.Equal(0, _world.Tier.UsedBytes);
        Assert.Empty(_disk.List());
        _world.Close();

        _world.Open();
        _world.PutAll(0, 40);
        _world.Close();
        _world.Open(dropAll: true);
        Assert.Equal(0, _world.CountPresent(0, 40));
        Assert.Empty(_disk.List());
        _world.PutAll(0, 40);
        Assert.Equal(40, _world.CountPresent(0, 40));
    }

    [Fact]
    public void SmallerBudget_OldestAreDroppedBeforeServing()
    {
        _world.Close();
        _world.Options = TierWorld.Small with { Bytes = 2 * DiskTierOptions.MinBytes };
        _world.Open();
        _world.PutAll(0, 440);
        Assert.True(_world.Tier.UsedBytes > 50_000_000);
        _world.Close();
        _world.Options = TierWorld.Small;
        _world.Open();
        Assert.InRange(_world.Tier.UsedBytes, DiskTierOptions.MinBytes / 2, DiskTierOptions.MinBytes);
        Assert.True(_world.Has(439));
        Assert.False(_world.Has(0));
        _world.PutAll(1000, 100);
        Assert.Equal(100, _world.CountPresent(1000, 100));
        Assert.True(_world.Tier.UsedBytes <= DiskTierOptions.MinBytes);
    }

    [Fact]
    public void FolderUnreadable_TierIsOffAndComesBackByItself()
    {
        _world.PutAll(0, 40);
        _world.Close();
        var rule = _disk.Fail(DiskOperations.List, FaultyDisk.EIO);
        _world.Open();
        Assert.Equal(DiskTierState.Off, _world.Tier.State);
        Assert.False(_world.Has(1));
        Assert.False(_world.Tier.Write(TierWorld.Record(100), TierWorld.Content(100), pinned: false));
        TierWorld.Until(() => rule.Hits > 3, "not tried again");
        rule.Dispose();
        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        Assert.Equal(40, _world.CountPresent(0, 40));
        Assert.Equal(2, _world.Log.Count(1050));
        Assert.Equal(2, _world.Log.Count(1051));
    }

    [Fact]
    public void EveryFileUnreadable_IsTheDisksFaultAndNothingIsUnlinked()
    {
        _world.PutAll(0, 93);
        _world.Close();
        var rule = _disk.Fail(DiskOperations.Read, FaultyDisk.EIO);
        _world.Open();
        Assert.Equal(DiskTierState.Off, _world.Tier.State);
        rule.Dispose();
        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        Assert.Equal(93, _world.CountPresent(0, 93));
        _world.Close();

        // One of several is the file's.
        using (_disk.Fail(DiskOperations.Read, FaultyDisk.EIO, c => c.Name == Segment.NameOf(1)))
            _world.Open();
        Assert.Equal(DiskTierState.On, _world.Tier.State);
        Assert.Equal(62, _world.CountPresent(0, 93));
    }

    [Fact]
    public void ReadOnlyDisk_IsServedFrom()
    {
        _world.PutAll(0, 40);
        _disk.Kill();
        _world.Tier.Dispose();
        using var rule = _disk.Fail(DiskOperations.Changes, FaultyDisk.EROFS);
        _world.Open();
        Assert.Equal(40, _world.CountPresent(0, 40));
        Assert.True(_world.Tier.Write(TierWorld.Record(100), TierWorld.Content(100), pinned: false));
        TierWorld.Until(() => _world.Tier.State == DiskTierState.WritesOff, "writes are still on");
        Assert.Equal(40, _world.CountPresent(0, 40));
        rule.Dispose();
        TierWorld.Until(() => _world.Tier.State == DiskTierState.On, "not on again");
        _world.PutAll(100, 1);
        Assert.True(_world.Has(100));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void PowerCut_AtSeededPoints_NoWrongByteAndEverythingSealedIsBack(int seed)
    {
        var random = new Random(seed);
        var (lost, seals) = (0, 0);
        for (var round = 0; round < 3; round++)
        {
            // 1. Within the budget: what is in a file whose footer was synced is there afterwards.
            var disk = new FaultyDisk();
            using var world = new TierWorld(disk);
            disk.LosePowerAfter(random.Next(5, 220));
            FillUntilOff(world, 0, 150);
            var whole = world.Tier.Table.Snapshot().Where(f => f.IsSealed).ToList();
            world.Tier.Dispose();
            disk.PowerCut(seed * 100 + round);
            var sealedRecords = new List<CacheRecord>();
            foreach (var segment in whole)
            {
                var entries = new List<SegmentEntry>();
                using var file = disk.Open(segment.Name, write: false);
                Assert.Equal(SegmentState.Sealed, SegmentScan.Of(file, entries).State);
                sealedRecords.AddRange(entries.Select(e => e.Record));
            }

            world.Open();
            foreach (var record in sealedRecords)
                Assert.True(world.Has((int)record.Sequence), $"seed {seed}, round {round}: sealed chunk {record.Sequence} is lost");
            // Has compares every byte: a wrong one fails the test.
            lost += 150 - world.CountPresent(0, 150);
            seals += whole.Count;

            // 2. While segments are evicted: files may be back that had been unlinked, but no wrong byte, and never more than the budget.
            disk.LosePowerAfter(random.Next(200, 400));
            FillUntilOff(world, 1000, 250);
            world.Tier.Dispose();
            disk.PowerCut(seed * 1000 + round);
            world.Open();
            Assert.True(world.Tier.UsedBytes <= TierWorld.Small.Bytes);
            lost += 250 - world.CountPresent(1000, 250);
            world.PutAll(2000, 5);
            Assert.Equal(5, world.CountPresent(2000, 5));
            world.Close();
            Assert.Equal(0, disk.OpenFiles);
        }

        // The cuts did happen, and not before anything was written.
        Assert.True(lost > 0 && seals > 0, $"seed {seed}: {lost} lost, {seals} sealed");
    }

    private static void FillUntilOff(TierWorld world, int first, int count)
    {
        for (var i = first; i < first + count; i++)
            TierWorld.Until(() => world.Tier.Write(TierWorld.Record(i), TierWorld.Content(i), pinned: i % 10 == 0) || world.Tier.State != DiskTierState.On, "not taken");
        world.Written();
    }

    private SegmentScan Scan(string name)
    {
        using var file = _disk.Open(name, write: false);
        return SegmentScan.Of(file, []);
    }

    private byte[] Bytes(string name)
    {
        using var file = _disk.Open(name, write: false);
        var bytes = new byte[file.Length];
        Assert.Equal(bytes.Length, file.Read(0, bytes));
        return bytes;
    }

    private void Replace(string name, byte[] bytes)
    {
        _disk.Delete(name);
        using var file = _disk.Create(name);
        file.Write(0, bytes);
        file.Sync();
    }

    // As kill -9: the old process's threads meet dead handles from here on.
    private void Crash()
    {
        _disk.Kill();
        _world.Tier.Dispose();
        _world.Open();
    }
}
