using System.CommandLine;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Roles;
using Delivery.Cli.Stores;
using Delivery.Cli.Tests.CommandLine;
using Delivery.Edge;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;

namespace Delivery.Cli.Tests.Stores;

/// <summary>Two stores as the command line knows them.</summary>
public sealed class TwoStoresTests : IDisposable
{
    private readonly TempFolder _folder = new();
    private readonly FileStore _first;
    private readonly FileStore _second;

    public TwoStoresTests() => (_first, _second) = (FileStore.Open(FolderOf("first")), FileStore.Open(FolderOf("second")));

    public void Dispose()
    {
        _first.Dispose();
        _second.Dispose();
        _folder.Dispose();
    }

    private string FolderOf(string name) => Path.Combine(_folder.Path, name);

    [Fact]
    public async Task Reconcile_TellsWhatDiffers_RepairsWhenToldSo_AndThenFindsNothing()
    {
        foreach (var key in (string[])["audio/same.ogg", "audio/missing.ogg", "catalog/tracks/changed.json"])
            await AddAsync(_first, key, 1);
        await AddAsync(_second, "audio/same.ogg", 1);
        await AddAsync(_second, "catalog/tracks/changed.json", 2);
        await AddAsync(_second, "audio/extra.ogg", 3);

        var (code, differences, end) = await ReconcileAsync();
        Assert.Equal(ExitCode.Failed, code);
        Assert.Equal(
            [("audio/extra.ogg", "extra", null), ("audio/missing.ogg", "missing", null), ("catalog/tracks/changed.json", "different", null)],
            differences.Select(line => (line.Key, line.State, line.Done)));
        Assert.Equal((false, 1, 1, 1, 1), (end.InSync, end.Equal, end.Missing, end.Different, end.Extra));

        (code, differences, end) = await ReconcileAsync("--repair");
        Assert.Equal((ExitCode.Failed, 2, 0), (code, end.Repaired, end.Deleted));
        Assert.NotNull(await _second.FindAsync(ObjectKey.Parse("audio/extra.ogg"), default));

        (code, differences, end) = await ReconcileAsync("--repair", "--delete-extra");
        Assert.Equal((ExitCode.Ok, true, 1), (code, end.InSync, end.Deleted));

        (code, differences, end) = await ReconcileAsync();
        Assert.Equal((ExitCode.Ok, true, 3), (code, end.InSync, end.Equal));
        Assert.Empty(differences);
    }

    [Fact]
    public async Task DeletingExtras_GoesWithRepair()
    {
        var (code, _, errors) = await Runs.RunAsync("store", "reconcile", FolderOf("first"), FolderOf("second"), "--delete-extra");
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("--delete-extra goes with --repair", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Promote_WithoutThePrimary_WantsForce_AndSaysWhatItCameTo()
    {
        var (code, _, _) = await Runs.RunAsync("store", "promote", FolderOf("second"), "--from", FolderOf("gone"));
        Assert.Equal(ExitCode.Usage, code);
        Assert.Null(await _second.FindAsync(StoreKeys.Role, default));

        (code, var output, var errors) = await Runs.RunAsync("store", "promote", FolderOf("second"), "--from", FolderOf("gone"), "--force", "--json");
        Assert.True(code == ExitCode.Ok, errors);
        Assert.Contains("going on without it", errors, StringComparison.Ordinal);
        var end = JsonSerializer.Deserialize(output.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1], CliJson.Default.PromotionEnd)!;
        Assert.Equal((FolderOf("second"), 2, false, false), (end.Primary, end.Epoch, end.WasPrimary, end.Planned));

        (code, output, _) = await Runs.RunAsync("store", "promote", FolderOf("second"), "--from", FolderOf("first"));
        Assert.Equal(ExitCode.Ok, code);
        Assert.Contains("was the primary already, of epoch 2", output, StringComparison.Ordinal);
    }

    [Fact]
    public void PlannedPromotion_NamesWhatItCouldNotCopy()
    {
        var end = new PromotionEnd("/b", 2, WasPrimary: false, Planned: true, Drained: 3, LeftBehind: ["masters/t/u.wav"], null);
        Assert.Contains("1 keys could not be copied and are left behind: masters/t/u.wav", StorePromote.InWords(end), StringComparison.Ordinal);
        Assert.Contains("Nothing is left behind", StorePromote.InWords(end with { LeftBehind = [] }), StringComparison.Ordinal);
    }

    [Fact]
    public void Edge_TakesItsStoresFromTheCommandLine()
    {
        var settings = With(new(), "--store", "s3://eu-audio/x?region=eu-north-1", "--secondary-store", "gs://us-audio");

        Assert.Equal(
            [(UpstreamKind.Store, null, "s3://eu-audio/x?region=eu-north-1"), (UpstreamKind.Store, "secondary-store", "gs://us-audio")],
            settings.Upstreams.Select(upstream => (upstream.Kind, upstream.Name, upstream.Address)));
        Assert.Equal(FolderOf("first"), With(new(), "--store", FolderOf("first")).Upstreams.Single().Address);
    }

    [Fact]
    public void Edge_KeepsTheOrderOfItsUpstreams()
    {
        var shield = new UpstreamOptions { Kind = UpstreamKind.Peer, Address = "http://shield:8082" };
        var settings = With(new() { Upstreams = [new() { Kind = UpstreamKind.Store }, shield] }, "--store", "/a", "--secondary-store", "/b");
        Assert.Equal(["/a", "http://shield:8082", "/b"], settings.Upstreams.Select(upstream => upstream.Address));

        var addressed = new EdgeOptions { Upstreams = [new() { Kind = UpstreamKind.Store, Address = "gs://us-audio" }] };
        Assert.Equal("gs://us-audio", With(addressed).Upstreams.Single().Address);
    }

    public static TheoryData<string[], bool, string> Bad => new()
    {
        { [], true, "--store is missing" },
        { ["--store", "/a"], false, "no upstream is of kind Store without an address" },
        { ["--secondary-store", "/a"], false, "--secondary-store is given, and no upstream is of kind Store" },
        { ["--store", "s3://x"], true, "--store: 's3://x' does not name a store" },
        { ["--store", "/a", "--secondary-store", "s3://key:hunter2@bucket"], true, "--secondary-store: 's3://…@bucket' does not name a store: credentials do not belong into it" },
        { ["--store", "/a", "--secondary-store", "file:///a"], true, "are one, or one lies in the other" },
    };

    [Theory]
    [MemberData(nameof(Bad), DisableDiscoveryEnumeration = true)]
    public void Edge_SaysWhatIsWrongWithItsStores(string[] arguments, bool hasStore, string message)
    {
        var options = hasStore ? new EdgeOptions() : new() { Upstreams = [new() { Kind = UpstreamKind.Http, Address = "http://origin" }] };
        var refusal = Assert.Throws<CliException>(() => With(options, arguments));
        Assert.Equal(ExitCode.Usage, refusal.ExitCode);
        Assert.Contains(message, refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Up_RefusesWrongStores_BeforeItStartsAnything()
    {
        var (code, _, errors) = await Runs.RunAsync("up", "--data", FolderOf("data"), "--store", "ftp://bucket");
        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("its scheme is 'ftp', not file, s3 or gs", errors, StringComparison.Ordinal);
        Assert.False(Directory.Exists(FolderOf("data")));
    }

    private static EdgeOptions With(EdgeOptions options, params string[] arguments)
    {
        var flags = new StoreFlags("The store.");
        return EdgeCommand.WithStores(options, flags, new RootCommand { flags.Store, flags.Secondary }.Parse(arguments));
    }

    private async Task<(int Code, List<DifferenceLine> Differences, ReconcileEnd End)> ReconcileAsync(params string[] arguments)
    {
        var (code, output, _) = await Runs.RunAsync(["store", "reconcile", FolderOf("first"), FolderOf("second"), "--json", .. arguments]);
        var lines = output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        return (code, [.. lines.Where(line => line.StartsWith("""{"key":""", StringComparison.Ordinal)).Select(line => JsonSerializer.Deserialize(line, CliJson.Default.DifferenceLine)!)],
            JsonSerializer.Deserialize(lines[^1], CliJson.Default.ReconcileEnd)!);
    }

    private static async Task AddAsync(FileStore store, string key, int seed)
    {
        var bytes = new byte[1000];
        new Random(seed).NextBytes(bytes);
        await store.WriteAsync(ObjectKey.Parse(key), new MemoryStream(bytes), new() { ContentType = "application/octet-stream" }, default);
    }
}
