using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Ingest;
using Delivery.Cli.OriginApi;
using Delivery.ObjectStore;
using Delivery.Origin;
using Delivery.Origin.Api;
using Delivery.Origin.ApiKeys;
using Delivery.TokenAuth;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Cli.Tests.Ingest;

/// <summary>A folder meets a real origin; the test is the farm, by the real queue.</summary>
public sealed class FolderIngestTests : IAsyncLifetime
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly TempFolder _folder = new();
    private readonly InProcessJobQueue _queue = new();
    private OriginNode _node = null!;
    private OriginClient _origin = null!;

    public async ValueTask InitializeAsync()
    {
        var (secret, sha256) = ApiKey.Generate();
        _node = await OriginNode.StartAsync(
            new OriginOptions
            {
                Port = 0,
                AdminPort = 0,
                KeyRingPath = _folder.File("keys.json", KeyRing.Generate().ToJson()),
                ApiKeys = [new ApiKey { Name = "test", Sha256 = sha256, Roles = [ApiRole.Ingest] }],
            },
            FileStore.Open(Path.Combine(_folder.Path, "store")),
            _queue,
            NullLoggerFactory.Instance,
            TimeProvider.System,
            TestContext.Current.CancellationToken);
        _origin = new OriginClient(_node.Address, secret);
        _folder.File("01 Song.wav", "what the farm thinks of it is the test's to say");
    }

    public async ValueTask DisposeAsync()
    {
        _origin.Dispose();
        await _node.DisposeAsync();
        await _queue.DisposeAsync();
        _folder.Dispose();
    }

    [Theory]
    [InlineData(JobFailure.WorkFolderFull)]
    [InlineData(JobFailure.StoreFailed)]
    [InlineData(JobFailure.ToolMissing)]
    public async Task FailureOfTheMachines_IsQueuedAgain_WhenTheFolderIsIngestedAgain(JobFailure failure)
    {
        var (_, failed) = await IngestAndFailAsync(failure);

        await IngestAsync(wait: false);

        Assert.Equal(failed.JobId, (await TakeAsync()).JobId);
    }

    [Theory]
    [InlineData(JobFailure.MasterMissing)]
    [InlineData(JobFailure.MasterDigestMismatch)]
    public async Task MasterThatTheStoreLost_IsSentAgain(JobFailure failure)
    {
        var (first, failed) = await IngestAndFailAsync(failure);

        var (_, line) = await IngestAsync(wait: false);

        Assert.True(first.Uploaded && line.Uploaded);
        var job = await TakeAsync();
        Assert.NotEqual(failed.MasterKey, job.MasterKey);
        Assert.Equal(failed.MasterSha256, job.MasterSha256);
    }

    [Fact]
    public async Task MasterThatWasJudged_IsNotJudgedAgain()
    {
        await IngestAndFailAsync(JobFailure.CorruptMaster);

        var (code, line) = await IngestAsync(wait: true);

        Assert.Equal((ExitCode.Failed, "failed", "corruptMaster", false), (code, line.State, line.Failure, line.Uploaded));
    }

    [Fact]
    public async Task TrackThatSomebodyElseTakesOut_IsSaid_AndNotWaitedFor()
    {
        var ingest = IngestAsync(wait: true);
        await TakeAsync();
        var other = JsonNode.Parse("""{"title":"Another album","tracks":[{"id":"other","title":"O","number":1}]}""")!.AsObject();
        await _origin.PutReleaseAsync("r", other, TestContext.Current.CancellationToken);

        var (code, line) = await ingest.WaitAsync(Patience, TestContext.Current.CancellationToken);

        Assert.Equal((ExitCode.Failed, "withdrawn"), (code, line.State));
        Assert.Contains("Somebody else", line.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OriginThatDiesInTheMiddleOfItsAnswer_IsUnreachable_InWords()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var dying = Task.Run(async () =>
        {
            using var connection = await listener.AcceptTcpClientAsync(TestContext.Current.CancellationToken);
            var stream = connection.GetStream();
            _ = await stream.ReadAsync(new byte[4096], TestContext.Current.CancellationToken);
            await stream.WriteAsync("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"u8.ToArray(), TestContext.Current.CancellationToken);
        });
        using var client = new OriginClient(new Uri($"http://{listener.LocalEndpoint}"), "dk_x");

        var error = await Assert.ThrowsAsync<OriginAwayException>(() => client.GetReleaseAsync("r", TestContext.Current.CancellationToken));

        Assert.Equal(ExitCode.Unreachable, error.ExitCode);
        await dying;
    }

    private async Task<(IngestLine Line, TranscodeJob Job)> IngestAndFailAsync(JobFailure failure)
    {
        var (_, line) = await IngestAsync(wait: false);
        var job = await TakeAsync();
        await _queue.ReportAsync(
            new JobReport { JobId = job.JobId, TrackId = job.TrackId, Phase = JobPhase.Failed, Failure = failure, Message = "It is so.", At = DateTimeOffset.UnixEpoch },
            TestContext.Current.CancellationToken);
        for (var deadline = DateTime.UtcNow + Patience; (await _origin.GetTrackAsync(job.TrackId, TestContext.Current.CancellationToken)).State != TrackState.Failed;)
        {
            Assert.True(DateTime.UtcNow < deadline, "The track has not failed.");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }

        return (line, job);
    }

    private async Task<TranscodeJob> TakeAsync() =>
        (await _queue.ReceiveAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(Patience, TestContext.Current.CancellationToken)).Job;

    private async Task<(int Code, IngestLine Line)> IngestAsync(bool wait)
    {
        using var output = new StringWriter();
        var ingest = new FolderIngest(_origin, new CommandContext(output, TextWriter.Null, json: true), TimeSpan.Zero);
        var code = await ingest.RunAsync(ReleaseFolder.Read(_folder.Path, "r"), wait, TestContext.Current.CancellationToken).WaitAsync(Patience, TestContext.Current.CancellationToken);
        return (code, JsonSerializer.Deserialize(output.ToString(), CliJson.Default.IngestLine)!);
    }
}
