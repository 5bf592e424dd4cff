using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.Segments;

/// <summary>The fault layer keeps its own promises; what is proven with it is worth no more than it is.</summary>
public class FaultyDiskTests
{
    [Fact]
    public void PowerCut_SyncedBytesAndNames_AreKept()
    {
        for (var seed = 0; seed < 50; seed++)
        {
            var disk = new FaultyDisk();
            using (var file = disk.Create("a"))
            {
                file.Write(0, Bytes(3000, 1));
                file.Sync();
                disk.SyncFolder();
                file.Write(3000, Bytes(2000, 2));
            }

            disk.PowerCut(seed);
            using var again = disk.Open("a", write: false);
            Assert.InRange(again.Length, 3000, 5000);
            Assert.Equal(Bytes(3000, 1), Read(again)[..3000]);
        }
    }

    [Fact]
    public void PowerCut_UnsyncedSectors_AreOldOrNewAndBothHappen()
    {
        var seen = new HashSet<string>();
        for (var seed = 0; seed < 200; seed++)
        {
            var disk = new FaultyDisk();
            var file = disk.Create("a");
            file.Write(0, Bytes(1024, 1));
            file.Sync();
            disk.SyncFolder();
            file.Write(100, Bytes(700, 2));
            file.Write(100, Bytes(700, 3));
            disk.PowerCut(seed);
            Assert.Throws<PowerLostException>(() => file.Write(0, [1]));
            using var again = disk.Open("a", write: false);
            var bytes = Read(again);
            // Bytes 0-99 and 800- are of the first write in every version, the rest is of one version per sector.
            Assert.All(bytes[..100].Concat(bytes[800..]), b => Assert.Equal(1, b));
            Assert.Single(bytes[100..512].Distinct());
            Assert.Single(bytes[512..800].Distinct());
            seen.Add($"{bytes[100]}{bytes[512]}");
        }

        Assert.Equal(["11", "12", "13", "21", "22", "23", "31", "32", "33"], seen.Order());
    }

    [Fact]
    public void PowerCut_UnsyncedNames_MayBeUndone()
    {
        var seen = new HashSet<string>();
        for (var seed = 0; seed < 200; seed++)
        {
            var disk = new FaultyDisk();
            disk.Create("old").Dispose();
            disk.SyncFolder();
            disk.Create("new").Dispose();
            disk.Rename("new", "old");
            disk.Create("other").Dispose();
            disk.Delete("other");
            disk.PowerCut(seed);
            Assert.Contains("old", disk.List());
            seen.UnionWith(disk.List());
        }

        Assert.Equal(["new", "old", "other"], seen.Order());
    }

    [Fact]
    public void Kill_KeepsWhatWasWritten_AndEndsHandles()
    {
        var disk = new FaultyDisk();
        var file = disk.Create("a");
        file.Write(0, Bytes(1000, 7));
        disk.Kill();
        Assert.Throws<PowerLostException>(() => file.Sync());
        Assert.Equal(0, disk.OpenFiles);
        using var again = disk.Open("a", write: false);
        Assert.Equal(Bytes(1000, 7), Read(again));
        // Written is not durable: a power cut after the kill may still take the file.
        Assert.Contains(Enumerable.Range(0, 50), seed =>
        {
            var other = new FaultyDisk();
            other.Create("a").Write(0, Bytes(1000, 7));
            other.Kill();
            other.PowerCut(seed);
            return other.List().Count == 0;
        });
    }

    [Fact]
    public void LosePowerAfter_DoesTheLastChangeAndFailsEverythingAfterIt()
    {
        var disk = new FaultyDisk();
        var file = disk.Create("a");
        disk.LosePowerAfter(1);
        file.Write(0, [1]);
        Assert.Throws<PowerLostException>(() => file.Write(1, [2]));
        Assert.Throws<PowerLostException>(() => file.Sync());
        Assert.Throws<PowerLostException>(() => file.Read(0, new byte[1]));
        Assert.Throws<PowerLostException>(() => disk.List());
        Assert.Contains(Enumerable.Range(0, 50), seed =>
        {
            disk.PowerCut(seed);
            return disk.List().Count == 0;
        });
        disk.Create("b").Dispose();
    }

    [Fact]
    public void Fail_OnlyWhatMatches_ForAsLongAsItIsInForce()
    {
        var disk = new FaultyDisk();
        using var file = disk.Create("a");
        using (var rule = disk.Fail(DiskOperations.Write, FaultyDisk.ENOSPC, c => c.Offset >= 10, skip: 1, times: 1, written: 2))
        {
            file.Write(0, [1, 2, 3]);
            file.Write(10, [4]);
            Assert.Equal(DiskError.Full, DiskErrors.Of(Assert.Throws<RuleException>(() => file.Write(11, [5, 6, 7]))));
            Assert.Equal(13, file.Length);
            file.Write(13, [8]);
            Assert.Equal(1, rule.Hits);
        }

        using (disk.Fail(DiskOperations.All, FaultyDisk.EROFS))
        {
            Assert.Equal(DiskError.ReadOnly, DiskErrors.Of(Assert.Throws<RuleException>(() => disk.Create("b"))));
            Assert.Equal(DiskError.ReadOnly, DiskErrors.Of(Assert.Throws<RuleException>(() => file.Sync())));
            Assert.False(file.TryReadCached(0, new byte[1], default, default));
        }

        file.Sync();
    }

    [Fact]
    public void Flips_OnTheWayAndInTheFile()
    {
        var disk = new FaultyDisk();
        using var file = disk.Create("a");
        file.Write(0, new byte[8]);
        using (disk.FlipOnRead(5, 3))
        {
            byte[] first = new byte[2], second = new byte[3], third = new byte[3];
            Assert.True(file.TryReadCached(0, first, second, third));
            Assert.Equal([8, 0, 0], third);
            Assert.Equal(8, Read(file)[5]);
        }

        Assert.Equal(0, Read(file)[5]);
        disk.FlipBit("a", 6, 0);
        Assert.Equal(1, Read(file)[6]);
        disk.InPageCache = false;
        Assert.False(file.TryReadCached(0, new byte[8], default, default));
    }

    [Fact]
    public async Task Stall_HoldsBackUntilReleased()
    {
        var disk = new FaultyDisk();
        using var file = disk.Create("a");
        file.Write(0, [42]);
        var rule = disk.Stall(DiskOperations.Reads);
        var read = Task.Factory.StartNew(() => Read(file), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Assert.True(SpinWait.SpinUntil(() => rule.Waiting == 1, TimeSpan.FromSeconds(30)));
        Assert.False(file.TryReadCached(0, new byte[1], default, default));
        Assert.False(read.IsCompleted);
        rule.Dispose();
        Assert.Equal([42], await read);
    }

    [Fact]
    public void RulesInFrontOfARealDisk_ActAndLeaveTheRestToIt()
    {
        var folder = Directory.CreateTempSubdirectory("delivery-cache-");
        try
        {
            using var real = LocalDisk.Open(folder.FullName);
            var disk = new FaultyDisk(real);
            using var file = disk.Create("a");
            using (disk.Fail(DiskOperations.Write, FaultyDisk.ENOSPC, c => c.Name == "a", skip: 1, written: 1))
            {
                file.Write(0, [1, 2]);
                Assert.Throws<RuleException>(() => file.Write(2, [3, 4]));
            }

            disk.FlipBit("a", 0, 7);
            Assert.Equal([0x81, 2, 3], File.ReadAllBytes(Path.Combine(folder.FullName, "a")));
            Assert.Equal(["a"], disk.List());
            Assert.Throws<InvalidOperationException>(() => disk.PowerCut(1));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static byte[] Bytes(int count, byte value) => [.. Enumerable.Repeat(value, count)];

    private static byte[] Read(ICacheFile file)
    {
        var bytes = new byte[file.Length];
        Assert.Equal(bytes.Length, file.Read(0, bytes));
        return bytes;
    }
}
