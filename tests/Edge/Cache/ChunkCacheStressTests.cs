using System.Globalization;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Segments;
using Delivery.Edge.Tests.Cache.HotTier;
using Delivery.Edge.Tests.Cache.Segments;

namespace Delivery.Edge.Tests.Cache;

/// <summary>
/// Many tasks read, write, purge, pin and unpin more than the cache holds, while it is reopened, killed, loses power and its disk fails; a model knows what each key
/// may return. <c>DELIVERY_STRESS_SECONDS</c> makes each test longer than its three seconds, <c>DELIVERY_STRESS_SEED</c> repeats one.
/// </summary>
[Collection(nameof(Alone))]
public sealed class ChunkCacheStressTests : IDisposable
{
    private static readonly TimeSpan Lives = TimeSpan.FromSeconds(Setting("DELIVERY_STRESS_SECONDS", 3));

    private static readonly int Seed = Setting("DELIVERY_STRESS_SEED", 20_261_121);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("cache-stress-");

    public void Dispose() => _folder.Delete(recursive: true);

    [Fact]
    public async Task RealDisk_ClosedAndOpenedAgain_KeepsEveryPromise()
    {
        var folder = Path.Combine(_folder.FullName, "cache");
        using var stress = new CacheStress(Seed, () => LocalDisk.Open(folder), holdsPins: true);
        await stress.LiveAsync(Setting("DELIVERY_STRESS_LIVES", 4), Lives, () =>
        {
            stress.Close();
            Assert.Equal(0, DescriptorsBelow(folder));
        });
        stress.AssertExercised();
    }

    [Fact]
    public async Task Kills_LoseNothingThatWasOnDisk()
    {
        var disk = new FaultyDisk();
        using var stress = new CacheStress(Seed + 1, () => disk, holdsPins: true);
        await stress.LiveAsync(Setting("DELIVERY_STRESS_LIVES", 4), Lives, () =>
        {
            // From one moment on nothing of the process reaches the disk.
            using var dead = disk.Fail(DiskOperations.All, FaultyDisk.EIO);
            disk.Kill();
            stress.Close();
        });
        stress.AssertExercised();
    }

    [Fact]
    public async Task FailingDisk_AndPowerCuts_CostNoByteAndNoPurge()
    {
        var disk = new FaultyDisk();
        using var stress = new CacheStress(Seed + 2, () => disk, holdsPins: false);
        var random = new Random(Seed + 2);
        await stress.LiveAsync(
            5,
            Lives,
            () =>
            {
                stress.Close();
                disk.PowerCut(random.Next());
            },
            (elapsed, stop) => new DiskWeather(disk, random).RunAsync(elapsed, stop));
        stress.AssertExercised();
    }

    private static int Setting(string name, int value) =>
        int.TryParse(Environment.GetEnvironmentVariable(name), NumberStyles.None, CultureInfo.InvariantCulture, out var given) ? given : value;

    private static int DescriptorsBelow(string folder) => Directory.EnumerateFileSystemEntries("/proc/self/fd").Count(entry =>
    {
        try
        {
            return new FileInfo(entry).LinkTarget?.StartsWith(folder, StringComparison.Ordinal) == true;
        }
        catch (IOException)
        {
            return false;
        }
    });
}
