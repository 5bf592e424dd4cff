using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Stores;
using Delivery.Cli.Tests.CommandLine;
using Delivery.ObjectStore;

namespace Delivery.Cli.Tests.Stores;

public sealed class StoreCheckTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly FileStore _files;

    public StoreCheckTests() => _files = FileStore.Open(Path.Combine(_folder.Path, "store"));

    private string Root => Path.Combine(_folder.Path, "store");

    public void Dispose()
    {
        _files.Dispose();
        _folder.Dispose();
    }

    [Fact]
    public async Task GoodStore_PassesEveryCheck_AndIsLeftAsItWas()
    {
        await _files.WriteAsync(ObjectKey.Parse("audio/x.ogg"), new MemoryStream([1, 2, 3]), new() { ContentType = "audio/ogg" }, TestContext.Current.CancellationToken);

        var (code, output, errors) = await Runs.RunAsync("store", "check", $"file://{Root}", "--json");

        Assert.Equal((ExitCode.Ok, ""), (code, errors));
        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        var checks = lines[..^1].Select(line => JsonSerializer.Deserialize(line, CliJson.Default.CheckLine)!).ToList();
        Assert.Equal(22, checks.Count);
        Assert.All(checks, check => Assert.Equal("ok", check.Outcome));
        Assert.All(checks.Where(check => check.Check.EndsWith("latency", StringComparison.Ordinal)), check => Assert.True(check.P50Ms > 0 && check.P95Ms >= check.P50Ms));
        Assert.True(JsonSerializer.Deserialize(lines[^1], CliJson.Default.CheckEnd) is { Ok: true, Failed: 0 });
        Assert.Equal(["audio/x.ogg"], await KeysAsync());
    }

    [Fact]
    public async Task ServerThatIgnoresPreconditions_IsNoPrimary()
    {
        var (code, lines) = await CheckAsync(new(_files) { IgnoresPreconditions = true });

        Assert.Equal(ExitCode.Failed, code);
        foreach (var check in (string[])["create twice", "replace stale", "race to create", "race to replace"])
        {
            Assert.Equal("failed", lines[check].Outcome);
            Assert.StartsWith("precondition ignored", lines[check].Detail, StringComparison.Ordinal);
            Assert.Contains("do not use this server as a primary", lines[check].Advice, StringComparison.Ordinal);
        }

        Assert.Contains("conditionalMultipart=false", lines["large create twice"].Advice, StringComparison.Ordinal);
        Assert.Equal("ok", lines["read"].Outcome);
        Assert.Empty(await KeysAsync());
    }

    [Fact]
    public async Task ServerThatLooksBeforeItWrites_LosesTheRace()
    {
        var (code, lines) = await CheckAsync(new(_files) { ChecksTooEarly = true });

        Assert.Equal((ExitCode.Failed, "ok"), (code, lines["create twice"].Outcome));
        Assert.Contains("writers won", lines["race to create"].Detail, StringComparison.Ordinal);
    }

    public static TheoryData<string, string, string> Faults => new()
    {
        { nameof(BentStore.LosesDigests), "metadata", "it has lost the digest" },
        { nameof(BentStore.IgnoresRanges), "ranges", "it gives other bytes" },
        { nameof(BentStore.KeepsBrokenUploads), "broken upload", "content broke was taken" },
        { nameof(BentStore.HidesFromListing), "list after write", "is there and not listed" },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public async Task Fault_IsFoundByItsCheck(string fault, string check, string detail)
    {
        var (code, lines) = await CheckAsync(new(_files)
        {
            LosesDigests = fault == nameof(BentStore.LosesDigests),
            IgnoresRanges = fault == nameof(BentStore.IgnoresRanges),
            KeepsBrokenUploads = fault == nameof(BentStore.KeepsBrokenUploads),
            HidesFromListing = fault == nameof(BentStore.HidesFromListing),
        });

        Assert.Equal((ExitCode.Failed, "failed"), (code, lines[check].Outcome));
        Assert.Contains(detail, lines[check].Detail, StringComparison.Ordinal);
        Assert.NotNull(lines[check].Advice);
        Assert.Empty(await KeysAsync());
    }

    [Fact]
    public async Task ClockThatIsOff_IsAWarning()
    {
        var (code, lines) = await CheckAsync(new(_files) { ClockOff = TimeSpan.FromMinutes(-3) });

        Assert.Equal((ExitCode.Ok, "warning"), (code, lines["clock"].Outcome));
        Assert.Contains("180.0 s behind", lines["clock"].Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task StoreThatDoesNotAnswer_IsUnreachable_AndNothingElseIsTried()
    {
        var (code, lines) = await CheckAsync(new(_files) { Fails = (_, _) => StoreError.Unavailable });

        Assert.Equal((ExitCode.Unreachable, "failed"), (code, lines["reach"].Outcome));
        Assert.All(lines.Values.Where(line => line.Check != "reach"), line => Assert.Equal("skipped", line.Outcome));
    }

    [Theory]
    [InlineData(StoreError.Denied, "Permissions")]
    [InlineData(StoreError.Misconfigured, "bucket that exists")]
    [InlineData(StoreError.ClockSkewed, "NTP")]
    public async Task Refusal_SaysWhatToDo(StoreError error, string advice)
    {
        var (code, lines) = await CheckAsync(new(_files) { Fails = (_, _) => error });

        Assert.Equal(ExitCode.Failed, code);
        Assert.Contains(advice, lines["reach"].Advice, StringComparison.Ordinal);
    }

    [Fact]
    public async Task WritesThatAreRefused_SkipWhatNeedsThem()
    {
        var (code, lines) = await CheckAsync(new(_files) { Fails = (call, _) => call == "write" ? StoreError.Denied : null });

        Assert.Equal((ExitCode.Failed, "failed", "skipped"), (code, lines["create"].Outcome, lines["range latency"].Outcome));
    }

    [Fact]
    public async Task UnknownServersRefusal_PointsAtChecksums()
    {
        var report = new StringWriter();
        var store = new BentStore(_files) { Fails = (call, _) => call == "write" ? StoreError.KeyRefused : null };
        var url = StoreUrl.Parse("s3://bucket?endpoint=http://127.0.0.1:1");

        await new StoreCheck(store, new(url, new CommandContext(report, TextWriter.Null, json: false))).RunAsync(TestContext.Current.CancellationToken);

        Assert.Contains("set checksums=whenRequired in the URL", report.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Interrupted_RemovesWhatItHasWritten()
    {
        using var stop = new CancellationTokenSource();
        var written = 0;
        var store = new BentStore(_files)
        {
            Written = _ =>
            {
                if (++written == 5)
                    stop.Cancel();
            },
        };

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new StoreCheck(store, Report(new StringWriter())).RunAsync(stop.Token));

        Assert.Equal(5, written);
        Assert.Empty(await KeysAsync());
    }

    [Fact]
    public async Task WhatCannotBeRemoved_IsSaid()
    {
        var (code, lines) = await CheckAsync(new(_files) { Fails = (call, _) => call == "delete" ? StoreError.Denied : null });

        Assert.Equal((ExitCode.Failed, "failed"), (code, lines["clean up"].Outcome));
        Assert.Contains(StoreCheck.Prefix, lines["clean up"].Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("audio/0123456789abcdef0123456789abcdef01234567.ogg")]
    public async Task EdgesCredentials_ThatOnlyRead_AreGood(string? key)
    {
        var name = await AddFileAsync();
        var output = new StringWriter();
        var store = new BentStore(_files)
        {
            Fails = (call, at) => call == "write" || (call == "list" && key is not null) || !at.StartsWith("audio/", StringComparison.Ordinal) ? StoreError.Denied : null,
        };

        var code = await new ReadOnlyCheck(store, Report(output)).RunAsync(key is null ? null : name, TestContext.Current.CancellationToken);

        var lines = Lines(output);
        Assert.True(code == ExitCode.Ok, output.ToString());
        Assert.All(lines.Values, line => Assert.Equal("ok", line.Outcome));
        Assert.Contains("of the digest in its name", lines["read"].Detail, StringComparison.Ordinal);
        Assert.Contains(key is null ? "allowed" : "refused", lines["list"].Detail, StringComparison.Ordinal);
        Assert.Equal("refused, as it should be", lines["create"].Detail);
    }

    [Fact]
    public async Task EdgesCredentials_ThatWriteAndReadMasters_AreNot()
    {
        await AddFileAsync();
        var output = new StringWriter();

        var code = await new ReadOnlyCheck(_files, Report(output)).RunAsync(null, TestContext.Current.CancellationToken);

        Assert.Equal(ExitCode.Failed, code);
        Assert.Equal(("failed", "warning"), (Lines(output)["create"].Outcome, Lines(output)["masters"].Outcome));
        Assert.Single(await KeysAsync());
    }

    [Fact]
    public async Task AbsenceThatIsToldAsRefusal_IsAWarning()
    {
        var key = await AddFileAsync();
        var output = new StringWriter();
        var store = new BentStore(_files) { Fails = (call, at) => call is "write" or "list" || at != key ? StoreError.Denied : null };

        var code = await new ReadOnlyCheck(store, Report(output)).RunAsync(key, TestContext.Current.CancellationToken);

        Assert.Equal((ExitCode.Ok, "warning"), (code, Lines(output)["absent"].Outcome));
        Assert.Contains("s3:ListBucket", Lines(output)["absent"].Advice, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FileOfOtherBytesThanItsName_IsFound()
    {
        await _files.WriteAsync(ObjectKey.Parse("audio/0123456789abcdef0123456789abcdef01234567.ogg"), new MemoryStream([1]), new() { ContentType = "audio/ogg" }, TestContext.Current.CancellationToken);
        var output = new StringWriter();

        await new ReadOnlyCheck(_files, Report(output)).RunAsync(null, TestContext.Current.CancellationToken);

        Assert.Equal("failed", Lines(output)["read"].Outcome);
    }

    [Theory]
    [InlineData("s3://no", "is not a bucket's name")]
    [InlineData("ftp://bucket", "its scheme is 'ftp'")]
    [InlineData("s3://key:hunter2@bucket", "credentials do not belong into it")]
    [InlineData("/nowhere/at/all", "there is no folder")]
    public async Task WrongUrl_IsAUsageError(string url, string message)
    {
        var (code, _, errors) = await Runs.RunAsync("store", "check", url);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains(message, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", errors, StringComparison.Ordinal);
    }

    private CheckReport Report(StringWriter output) => new(StoreUrl.Parse(Root), new CommandContext(output, TextWriter.Null, json: true));

    private async Task<(int Code, Dictionary<string, CheckLine> Lines)> CheckAsync(BentStore store)
    {
        var output = new StringWriter();
        var code = await new StoreCheck(store, Report(output)).RunAsync(TestContext.Current.CancellationToken);
        return (code, Lines(output));
    }

    private static Dictionary<string, CheckLine> Lines(StringWriter output) => output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries)
        .Where(line => line.StartsWith("""{"check":""", StringComparison.Ordinal)).Select(line => JsonSerializer.Deserialize(line, CliJson.Default.CheckLine)!).ToDictionary(line => line.Check);

    private async Task<string> AddFileAsync()
    {
        var bytes = new byte[150_000];
        new Random(1).NextBytes(bytes);
        var key = $"audio/{Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(bytes))[..40]}.ogg";
        await _files.WriteAsync(ObjectKey.Parse(key), new MemoryStream(bytes), new() { ContentType = "audio/ogg" }, TestContext.Current.CancellationToken);
        return key;
    }

    private async Task<List<string>> KeysAsync()
    {
        var keys = new List<string>();
        await foreach (var entry in _files.ListAsync("", null, TestContext.Current.CancellationToken))
            keys.Add(entry.Key.Value);
        return keys;
    }
}
