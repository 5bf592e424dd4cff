using System.Globalization;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Stores;
using Delivery.Cli.Tests.CommandLine;
using Delivery.ObjectStore;

namespace Delivery.Cli.Tests.Stores;

public sealed class StoreCopyTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly FileStore _from;
    private readonly FileStore _to;

    public StoreCopyTests() => (_from, _to) = (FileStore.Open(FolderOf("from")), FileStore.Open(FolderOf("to")));

    public void Dispose()
    {
        _from.Dispose();
        _to.Dispose();
        _folder.Dispose();
    }

    private string FolderOf(string name) => Path.Combine(_folder.Path, name);

    [Fact]
    public async Task Copy_BringsEverything_ButWhatIsAStoresOwn_AndTheSecondRunNothing()
    {
        for (var i = 0; i < 200; i++)
            await AddAsync(_from, $"audio/{i:D3}.ogg", i);
        await AddAsync(_from, "catalog/tracks/t.json", 7);
        await AddAsync(_from, "control/store.json", 8);
        await AddAsync(_from, "replication/0001.json", 9);

        var (code, output, errors) = await Runs.RunAsync("store", "copy", FolderOf("from"), $"file://{FolderOf("to")}", "--json", "--verify");

        Assert.Equal((ExitCode.Ok, ""), (code, errors));
        var end = End(output);
        Assert.Equal((true, 201, 0, 0), (end.Done, end.Copied, end.Equal, end.Failed));
        var keys = await KeysAsync(_to);
        Assert.Equal(201, keys.Count);
        Assert.DoesNotContain(keys, key => key is "control/store.json" or "replication/0001.json");
        foreach (var key in keys)
            Assert.Equal((await _from.FindAsync(ObjectKey.Parse(key), default))!.Sha256, (await _to.FindAsync(ObjectKey.Parse(key), default))!.Sha256);

        (code, output, _) = await Runs.RunAsync("store", "copy", FolderOf("from"), FolderOf("to"), "--json");
        end = End(output);
        Assert.Equal((ExitCode.Ok, 0, 201, 0), (code, end.Copied, end.Equal, end.Bytes));
    }

    [Fact]
    public async Task PrefixAndStartAfter_BoundWhatIsCopied()
    {
        foreach (var key in (string[])["audio/a.ogg", "audio/b.ogg", "audio/c.ogg", "masters/m.wav"])
            await AddAsync(_from, key, 1);

        await Runs.RunAsync("store", "copy", FolderOf("from"), FolderOf("to"), "--prefix", "audio/", "--start-after", "audio/a.ogg");

        Assert.Equal(["audio/b.ogg", "audio/c.ogg"], await KeysAsync(_to));
    }

    [Fact]
    public async Task ObjectThatFails_DoesNotStopTheOthers_AndIsNamed()
    {
        for (var i = 0; i < 20; i++)
            await AddAsync(_from, $"audio/{i:D2}.ogg", i);
        var broken = new BentStore(_from) { Fails = (call, key) => call == "read" && key == "audio/07.ogg" ? StoreError.Corrupt : null };

        var (code, end) = await CopyAsync(broken, _to);

        Assert.Equal((ExitCode.Failed, true, 19, 1), (code, end.Done, end.Copied, end.Failed));
        Assert.Equal(("audio/07.ogg", "Corrupt"), (Assert.Single(end.Failures).Key, end.Failures[0].Error));
        Assert.Equal(19, (await KeysAsync(_to)).Count);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(StoreCopy.DefaultParallel)]
    public async Task StoreThatIsAway_EndsTheRun_WhichGoesOnWhereItStopped(int parallel)
    {
        for (var i = 0; i < 500; i++)
            await AddAsync(_from, $"audio/{i:D3}.ogg", i);
        var copied = 0;
        var target = new BentStore(_to);
        target.Written = _ => Interlocked.Increment(ref copied);
        target.Fails = (_, _) => Volatile.Read(ref copied) >= 100 ? StoreError.Unavailable : null;
        var output = new StringWriter();

        var failure = await Assert.ThrowsAsync<CliException>(
            () => new StoreCopy(_from, target, new CommandContext(output, TextWriter.Null, json: true)) { Parallel = parallel }.RunAsync(TestContext.Current.CancellationToken));

        Assert.Equal(ExitCode.Unreachable, failure.ExitCode);
        Assert.Contains("objects in a row failed", failure.Message, StringComparison.Ordinal);
        var end = End(output.ToString());
        Assert.False(end.Done);
        // Of several at once the first may be the last to end; then nothing is known to be done.
        if (parallel == 1)
            Assert.Equal("audio/099.ogg", end.StartAfter);
        // Everything up to there is there: nothing is lost by going on after it.
        var there = (await KeysAsync(_to)).ToHashSet();
        Assert.All((await KeysAsync(_from)).Where(key => string.CompareOrdinal(key, end.StartAfter) <= 0), key => Assert.Contains(key, there));
        target.Fails = (_, _) => null;
        (var code, end) = await CopyAsync(_from, target, end.StartAfter);
        Assert.Equal((ExitCode.Ok, 0), (code, end.Failed));
        Assert.Equal(500, (await KeysAsync(_to)).Count);
    }

    [Fact]
    public async Task Interrupted_SaysWhereToGoOn_AndLeavesNothingRunning()
    {
        for (var i = 0; i < 100; i++)
            await AddAsync(_from, $"audio/{i:D3}.ogg", i);
        using var stop = new CancellationTokenSource();
        var written = 0;
        var target = new BentStore(_to);
        target.Written = _ =>
        {
            if (Interlocked.Increment(ref written) == 30)
                stop.Cancel();
        };
        var output = new StringWriter();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new StoreCopy(_from, target, new CommandContext(output, TextWriter.Null, json: true)).RunAsync(stop.Token));

        Assert.False(End(output.ToString()).Done);
        Assert.InRange(written, 30, 30 + StoreCopy.DefaultParallel);
    }

    [Fact]
    public async Task LargeObjectsWithoutDigests_AreCountedAsNotCompared_UntilTheyAreRead()
    {
        var bytes = new byte[2 << 20];
        await _from.WriteAsync(ObjectKey.Parse("masters/a.wav"), new MemoryStream(bytes), new() { ContentType = "audio/wav" }, default);
        bytes[1_000_000] = 1;
        await _to.WriteAsync(ObjectKey.Parse("masters/a.wav"), new MemoryStream(bytes), new() { ContentType = "audio/wav" }, default);
        var (from, to) = (new BentStore(_from) { LosesDigests = true }, new BentStore(_to) { LosesDigests = true });

        var (_, end) = await CopyAsync(from, to);
        Assert.Equal((0, 1), (end.Copied, end.NotCompared));
        (_, end) = await CopyAsync(from, to, verify: true);
        Assert.Equal((1, 0), (end.Copied, end.NotCompared));
        Assert.Equal((await _from.FindAsync(ObjectKey.Parse("masters/a.wav"), default))!.Sha256, (await _to.FindAsync(ObjectKey.Parse("masters/a.wav"), default))!.Sha256);
    }

    [Fact]
    public async Task Text_TellsObjectsBytesAndRate()
    {
        await AddAsync(_from, "audio/a.ogg", 1);

        var (code, output, _) = await Runs.RunAsync("store", "copy", FolderOf("from"), FolderOf("to"));

        Assert.Equal(ExitCode.Ok, code);
        Assert.Matches(@"^1 copied, 0 there, 1 kB, [\d.]+ [kM]?B/s, at audio/a\.ogg\n$", output);
    }

    [Theory]
    [InlineData("from", "from")]
    [InlineData("from", "from/sub")]
    [InlineData("from/sub", "from")]
    public async Task StoreIntoItself_IsAUsageError(string from, string to)
    {
        var (code, _, errors) = await Runs.RunAsync("store", "copy", FolderOf(from), $"file://{FolderOf(to)}");

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("are one, or one lies in the other", errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("s3://bucket/a", "s3://bucket/a/b", true)]
    [InlineData("s3://bucket/a", "s3://bucket/ab", false)]
    [InlineData("s3://bucket?endpoint=http://one:1", "s3://bucket?endpoint=http://two:2", false)]
    [InlineData("s3://bucket", "gs://bucket", false)]
    [InlineData("/srv/a", "/srv/ab", false)]
    public void Overlap_IsFound(string one, string other, bool overlaps)
    {
        var failure = Record.Exception(() => StoreFlags.MustDiffer(StoreUrl.Parse(one), StoreUrl.Parse(other)));
        Assert.Equal(overlaps, failure is CliException { ExitCode: ExitCode.Usage });
    }

    [Fact]
    public async Task MissingSource_IsAUsageError_AndNotMade()
    {
        var (code, _, errors) = await Runs.RunAsync("store", "copy", FolderOf("nowhere"), FolderOf("to"));

        Assert.Equal((ExitCode.Usage, false), (code, Directory.Exists(FolderOf("nowhere"))));
        Assert.Contains("there is no folder", errors, StringComparison.Ordinal);
    }

    private static async Task<(int Code, CopyEnd End)> CopyAsync(IObjectStore from, IObjectStore to, string? startAfter = null, bool verify = false)
    {
        var output = new StringWriter(CultureInfo.InvariantCulture);
        var code = await new StoreCopy(from, to, new CommandContext(output, TextWriter.Null, json: true)) { StartAfter = startAfter, Verify = verify }.RunAsync(TestContext.Current.CancellationToken);
        return (code, End(output.ToString()));
    }

    private static CopyEnd End(string output) => JsonSerializer.Deserialize(output.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1], CliJson.Default.CopyEnd)!;

    private static async Task AddAsync(FileStore store, string key, int seed)
    {
        var bytes = new byte[1000];
        new Random(seed).NextBytes(bytes);
        await store.WriteAsync(ObjectKey.Parse(key), new MemoryStream(bytes), new() { ContentType = "audio/ogg" }, default);
    }

    private static async Task<List<string>> KeysAsync(FileStore store)
    {
        var keys = new List<string>();
        await foreach (var entry in store.ListAsync("", null, TestContext.Current.CancellationToken))
            keys.Add(entry.Key.Value);
        return keys;
    }
}
