using System.Text;
using Delivery.ObjectStore;
using Delivery.Transcoder.Results;

namespace Delivery.Origin.Tests.Farm;

/// <summary>Over a store that a real origin filled: what it plays, and what a result names, is never an orphan.</summary>
public class OrphanSweepTests
{
    private static readonly TimeSpan Day = TimeSpan.FromHours(24);

    [Fact]
    public async Task OldFilesThatNoResultNames_AreOrphans_AndNothingElseIs()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PublishAsync();
        await origin.UploadAsync([2]); // Its result is there, and is never published.
        await origin.Farm.WorkAsync((await origin.Farm.TakeAsync()).Job);
        await PutAsync(origin, "audio/0000000000000000000000000000000000000000.ogg");
        await PutAsync(origin, "audio/ffffffffffffffffffffffffffffffffffffffff.flac");
        await PutAsync(origin, "catalog/waveforms/aa/default-1-x.dat");
        var result = (await origin.KeysAsync("catalog/renditions/"))[0];
        await PutAsync(origin, result.Replace("renditions", "waveforms", StringComparison.Ordinal).Replace(".json", ".dat", StringComparison.Ordinal));
        await PutAsync(origin, "audio/2222222222222222222222222222222222222222.ogg");
        await PutAsync(origin, "catalog/renditions/bb/default-1-old.json", """{"format":1,"renditions":[{"fileId":"2222222222222222222222222222222222222222","extension":"ogg"}]}""");
        Age(origin);
        await PutAsync(origin, "audio/1111111111111111111111111111111111111111.ogg"); // A job under way.

        var sweep = new OrphanSweep(origin.Files, TimeProvider.System);
        var found = await sweep.FindAsync(Day, default);
        string[] orphans = ["audio/0000000000000000000000000000000000000000.ogg", "audio/ffffffffffffffffffffffffffffffffffffffff.flac", "catalog/waveforms/aa/default-1-x.dat"];
        Assert.Equal(orphans, found.Orphans.Select(o => o.Key.Value));

        var deleted = new List<string>();
        var before = await AllAsync(origin);
        await sweep.DeleteAsync(found, o => deleted.Add(o.Key.Value), default);
        Assert.Equal(orphans, deleted);
        Assert.Equal(before.Except(orphans), await AllAsync(origin));
        Assert.Empty((await sweep.FindAsync(Day, default)).Orphans);
    }

    [Fact]
    public async Task OrphanThatAResultNamesMeanwhile_Stays()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        await origin.UploadAsync([1]);
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.Farm.WorkAsync(job);
        await origin.Files.DeleteAsync(ObjectKey.Parse(TestFarm.ResultKey(job)), default); // The worker died before it.
        Age(origin);
        var sweep = new OrphanSweep(origin.Files, TimeProvider.System);
        var found = await sweep.FindAsync(Day, default);
        Assert.Equal(TestFarm.FullLadder.Length + 1, found.Orphans.Count); // And the waveform.

        var renditions = (await origin.KeysAsync("audio/")).Count;
        await origin.Farm.WorkAsync(job); // Another worker did it.
        await sweep.DeleteAsync(found, _ => Assert.Fail("It is named now."), default);
        Assert.Equal(renditions, (await origin.KeysAsync("audio/")).Count);
    }

    [Theory]
    [InlineData("torn")]
    [InlineData("{}")]
    [InlineData("""{"renditions":[{"fileId":"0000000000000000000000000000000000000000"}]}""")]
    [InlineData("""{"renditions":[null]}""")]
    public async Task UnreadableResult_StopsTheSearch(string result)
    {
        await using var origin = await OriginHarness.StartAsync();
        await PutAsync(origin, "audio/0000000000000000000000000000000000000000.ogg");
        await PutAsync(origin, "catalog/renditions/aa/default-1-x.json", result);
        Age(origin);
        var sweep = new OrphanSweep(origin.Files, TimeProvider.System);
        Assert.Equal(StoreError.Corrupt, (await Assert.ThrowsAsync<StoreException>(() => sweep.FindAsync(Day, default))).Error);
    }

    private static async Task PutAsync(OriginHarness origin, string key, string content = "torn") => await origin.Files.WriteAsync(
        ObjectKey.Parse(key), new MemoryStream(Encoding.UTF8.GetBytes(content)), new ObjectWrite { ContentType = "application/octet-stream" }, default);

    /// <summary>Everything in the store is two days old.</summary>
    private static void Age(OriginHarness origin)
    {
        foreach (var file in Directory.EnumerateFiles(origin.StoreFolder, "*", SearchOption.AllDirectories))
            File.SetLastWriteTimeUtc(file, DateTime.UtcNow.AddDays(-2));
    }

    private static async Task<IReadOnlyList<string>> AllAsync(OriginHarness origin) => [.. await origin.KeysAsync("audio/"), .. await origin.KeysAsync("catalog/")];
}
