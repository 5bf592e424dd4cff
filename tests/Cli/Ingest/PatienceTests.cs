using System.Globalization;
using System.Net;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Ingest;
using Delivery.Cli.OriginApi;
using Delivery.ObjectStore;
using Delivery.Origin;
using Delivery.Origin.Api;
using Delivery.Origin.ApiKeys;
using Delivery.Tests;
using Delivery.TokenAuth;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Cli.Tests.Ingest;

/// <summary>A folder meets an origin that is away for a while: it waits, says so, and goes on with what is left.</summary>
public sealed class PatienceTests : IAsyncLifetime
{
    private const int MasterBytes = 3 << 20;

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly TempFolder _folder = new();
    private readonly InProcessJobQueue _queue = new();
    private readonly string _secret;
    private readonly OriginOptions _options;
    private readonly FailingStore _store;
    private OriginNode? _node;

    public PatienceTests()
    {
        (_secret, var sha256) = ApiKey.Generate();
        _options = new()
        {
            Port = 0,
            AdminPort = 0,
            KeyRingPath = _folder.File("keys.json", KeyRing.Generate().ToJson()),
            ApiKeys = [new ApiKey { Name = "test", Sha256 = sha256, Roles = [ApiRole.Ingest] }],
        };
        _store = new(FileStore.Open(Path.Combine(_folder.Path, "store")));
        Directory.CreateDirectory(Masters);
        for (var i = 1; i <= 2; i++)
        {
            var bytes = new byte[MasterBytes];
            new Random(i).NextBytes(bytes);
            File.WriteAllBytes(Path.Combine(Masters, $"0{i} Song.wav"), bytes);
        }
    }

    private string Masters => Path.Combine(_folder.Path, "album");

    public async ValueTask InitializeAsync() => _node = await StartAsync();

    public async ValueTask DisposeAsync()
    {
        if (_node is not null)
            await _node.DisposeAsync();
        await _queue.DisposeAsync();
        _store.Dispose();
        _folder.Dispose();
    }

    [Theory]
    [InlineData("catalog/releases/")]
    [InlineData("masters/r-2/")]
    [InlineData("catalog/tracks/r-2")]
    public async Task StoreThatCannotBeWrittenForAWhile_IsWaitedFor_AsLongAsTheOriginAsks(string prefix)
    {
        _store.Failing = prefix;
        _store.Failures = 2;

        var (code, tracks, waits) = await IngestAsync(_node!.Address, TimeSpan.FromMinutes(1));

        Assert.Equal(ExitCode.Ok, code);
        Assert.Equal(0, _store.Failures);
        Assert.All(tracks, track => Assert.Equal(("queued", true), (track.State, track.Uploaded)));
        Assert.Equal(2, waits.Count);
        Assert.All(waits, wait => Assert.Equal(2, wait.RetryInSeconds));
        Assert.All(waits, wait => Assert.Contains("the origin says", wait.Waiting, StringComparison.Ordinal));
        // What was there before it failed is not sent again.
        Assert.Equal(1, _store.WritesOf("masters/r-1/"));
        await AssertMastersAsync();
    }

    [Fact]
    public async Task UploadThatIsCut_IsSentAgain()
    {
        await using var proxy = new TroubledProxy(_node!.Address) { Trouble = new() { CutRequestsAfter = MasterBytes + (MasterBytes / 2), Times = 1 } };

        var (code, tracks, waits) = await IngestAsync(proxy.Address, TimeSpan.FromMinutes(1));

        Assert.Equal((ExitCode.Ok, 1), (code, proxy.Trouble.Happened));
        Assert.All(tracks, track => Assert.Equal(("queued", true), (track.State, track.Uploaded)));
        Assert.Contains("cannot be reached", Assert.Single(waits).Waiting, StringComparison.Ordinal);
        await AssertMastersAsync();
    }

    [Fact]
    public async Task AnswerThatIsLost_IsNotReasonToSendTheMasterAgain()
    {
        await using var proxy = new TroubledProxy(_node!.Address);
        // From the moment at which the first master is whole in the store, its answer is lost.
        _store.Written = key => proxy.Trouble = key.StartsWith("masters/r-1/", StringComparison.Ordinal) ? new() { CutAnswersAfter = 0, Times = 1 } : proxy.Trouble;

        var (code, tracks, waits) = await IngestAsync(proxy.Address, TimeSpan.FromMinutes(1));

        Assert.Equal(ExitCode.Ok, code);
        Assert.Single(waits);
        Assert.All(tracks, track => Assert.True(track.Uploaded));
        Assert.Equal((1, 1), (_store.WritesOf("masters/r-1/"), _store.WritesOf("masters/r-2/")));
    }

    [Fact]
    public async Task OriginThatIsRestarted_IsWaitedFor()
    {
        var address = _node!.Address;
        await _node.DisposeAsync();
        _node = null;
        var ingest = IngestAsync(address, TimeSpan.FromMinutes(1));
        await Task.Delay(50, TestContext.Current.CancellationToken);
        _options.Port = address.Port;
        _node = await StartAsync();

        var (code, tracks, _) = await ingest;

        Assert.Equal(ExitCode.Ok, code);
        Assert.All(tracks, track => Assert.Equal("queued", track.State));
    }

    [Fact]
    public async Task OriginThatStaysAway_IsGivenUpAfterTheBound()
    {
        _store.Failing = "catalog/releases/";
        _store.Failures = int.MaxValue;
        using var output = new StringWriter();
        var started = DateTime.UtcNow;

        var code = await DeliveryCommand.RunAsync(
            ["ingest", Masters, "--release", "r", "--no-wait", "--retry-for", "3s", "--origin", _node!.Address.ToString(), "--api-key", _secret], TextWriter.Null, output, TestContext.Current.CancellationToken);

        Assert.Equal(ExitCode.Unreachable, code);
        Assert.InRange(DateTime.UtcNow - started, TimeSpan.FromSeconds(1.9), Limit);
        Assert.Contains("trying again in 2 s, for up to 3 s", output.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task RefusalIsNotWaitedFor()
    {
        using var client = new OriginClient(_node!.Address, "dk_wrong");
        using var output = new StringWriter();

        var refusal = await Assert.ThrowsAsync<CliException>(() => new FolderIngest(client, new CommandContext(output, TextWriter.Null, json: true), Limit)
            .RunAsync(ReleaseFolder.Read(Masters, "r"), wait: false, TestContext.Current.CancellationToken));

        Assert.Equal((ExitCode.Refused, ""), (refusal.ExitCode, output.ToString()));
    }

    private async Task<OriginNode> StartAsync() => await OriginNode.StartAsync(_options, _store, _queue, NullLoggerFactory.Instance, TimeProvider.System, TestContext.Current.CancellationToken);

    private async Task<(int Code, List<IngestLine> Tracks, List<WaitLine> Waits)> IngestAsync(Uri origin, TimeSpan retryFor)
    {
        using var client = new OriginClient(origin, _secret);
        using var output = new StringWriter(CultureInfo.InvariantCulture);
        var code = await new FolderIngest(client, new CommandContext(output, TextWriter.Null, json: true), retryFor)
            .RunAsync(ReleaseFolder.Read(Masters, "r"), wait: false, TestContext.Current.CancellationToken).WaitAsync(Limit, TestContext.Current.CancellationToken);
        var lines = output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries).ToLookup(line => line.StartsWith("""{"waiting":""", StringComparison.Ordinal));
        return (code, [.. lines[false].Select(line => JsonSerializer.Deserialize(line, CliJson.Default.IngestLine)!)], [.. lines[true].Select(line => JsonSerializer.Deserialize(line, CliJson.Default.WaitLine)!)]);
    }

    private async Task AssertMastersAsync()
    {
        using var client = new OriginClient(_node!.Address, _secret);
        foreach (var track in (await client.GetReleaseAsync("r", TestContext.Current.CancellationToken)).Tracks)
            Assert.Equal((MasterBytes, TrackState.Queued), ((int)track.Master!.Bytes, track.State));
    }

    /// <summary>The real store, whose writes fail on command.</summary>
    private sealed class FailingStore(IObjectStore inner) : IObjectStore
    {
        private readonly List<string> _writes = [];

        public string Failing { get; set; } = "nothing";

        /// <summary>Writes below <see cref="Failing"/> that are still to fail.</summary>
        public int Failures { get; set; }

        public Action<string> Written { get; set; } = _ => { };

        public int WritesOf(string prefix)
        {
            lock (_writes)
                return _writes.Count(key => key.StartsWith(prefix, StringComparison.Ordinal));
        }

        public ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken) => inner.FindAsync(key, cancellationToken);

        public ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken) => inner.OpenReadAsync(key, range, cancellationToken);

        public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
        {
            lock (_writes)
            {
                if (key.Value.StartsWith(Failing, StringComparison.Ordinal) && Failures > 0)
                {
                    Failures--;
                    throw new StoreException(StoreError.Unavailable, "As scripted.");
                }
            }

            var info = await inner.WriteAsync(key, content, write, cancellationToken);
            lock (_writes)
                _writes.Add(key.Value);
            Written(key.Value);
            return info;
        }

        public ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken) => inner.DeleteAsync(key, cancellationToken);

        public IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, CancellationToken cancellationToken) => inner.ListAsync(prefix, startAfter, cancellationToken);

        public void Dispose() => inner.Dispose();
    }
}
