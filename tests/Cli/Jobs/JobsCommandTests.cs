using System.Text.Json;
using System.Text.Json.Nodes;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.Cli.Tests.CommandLine;
using Delivery.ObjectStore;
using Delivery.Origin;
using Delivery.Origin.ApiKeys;
using Delivery.TokenAuth;
using Delivery.Transcoder.Jobs;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Cli.Tests.Jobs;

/// <summary>The command against a real origin; the test is the farm, by the real queue.</summary>
public sealed class JobsCommandTests : IAsyncLifetime
{
    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(30);

    private readonly TempFolder _folder = new();
    private readonly InProcessJobQueue _queue = new();
    private OriginNode _node = null!;
    private string _secret = "";
    private string _jobId = "";

    public async ValueTask InitializeAsync()
    {
        (_secret, var sha256) = ApiKey.Generate();
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
        using var origin = new OriginClient(_node.Address, _secret);
        await origin.PutReleaseAsync("r", JsonNode.Parse("""{"title":"R","artists":["A"],"tracks":[{"id":"t","title":"T","number":1}]}""")!.AsObject(), default);
        using var master = new MemoryStream([1, 2, 3]);
        var track = await origin.PutMasterAsync("r", "t", "t.wav", "audio/wav", master, System.Security.Cryptography.SHA256.HashData([1, 2, 3]), default);
        _jobId = track.Job!.JobId;
    }

    public async ValueTask DisposeAsync()
    {
        await _node.DisposeAsync();
        await _queue.DisposeAsync();
        _folder.Dispose();
    }

    [Fact]
    public async Task RunningJob_IsListed_WithWorkerAndTimeLeft()
    {
        await ReportAsync(new JobReport { JobId = _jobId, TrackId = "t", Phase = JobPhase.Encode, Progress = 0.25, SecondsLeft = 61.2, Worker = "box-1", Attempt = 2, At = DateTimeOffset.UtcNow });

        var job = JsonSerializer.Deserialize<JsonElement>((await RunAsync("jobs", "--json")).Output);
        Assert.Equal(
            (_jobId, "encode", 0.25, 61.2, "box-1", 2),
            (job.GetProperty("jobId").GetString(), job.GetProperty("phase").GetString(), job.GetProperty("progress").GetDouble(), job.GetProperty("secondsLeft").GetDouble(), job.GetProperty("worker").GetString(), job.GetProperty("attempt").GetInt32()));
        var (code, table, _) = await RunAsync("jobs", "--phase", "encode");
        Assert.Equal(ExitCode.Ok, code);
        Assert.Matches($"{_jobId} .*encode .*25.*00:01:02 .*2 .*box-1 ", table);
        Assert.DoesNotContain(_jobId, (await RunAsync("jobs", "--phase", "verify")).Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Job_IsCancelled_AndRetried_AndNeitherTwice()
    {
        var (code, output, errors) = await RunAsync("jobs", "cancel", _jobId);
        Assert.True(code == ExitCode.Ok, errors);
        Assert.Contains("failed", output, StringComparison.Ordinal);
        Assert.Contains("cancelled", output, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Refused, (await RunAsync("jobs", "cancel", _jobId)).ExitCode);

        (code, output, errors) = await RunAsync("jobs", "retry", _jobId, "--json");
        Assert.True(code == ExitCode.Ok, errors);
        Assert.Equal("queued", JsonSerializer.Deserialize<JsonElement>(output).GetProperty("phase").GetString());
        var refused = await RunAsync("jobs", "retry", _jobId);
        Assert.Equal(ExitCode.Refused, refused.ExitCode);
        Assert.Contains("only a failed one", refused.Errors, StringComparison.Ordinal);
        Assert.Contains("no job 'nobodys'", (await RunAsync("jobs", "cancel", "nobodys")).Errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Watch_SaysWhatIsNew_AndNothingTwice()
    {
        using var stop = new CancellationTokenSource();
        using var output = new Lines();
        var watching = DeliveryCommand.RunAsync(["jobs", "--watch", .. Connection()], output, TextWriter.Null, stop.Token);
        await output.UntilAsync("queued");
        await ReportAsync(new JobReport { JobId = _jobId, TrackId = "t", Phase = JobPhase.Encode, Progress = 0.5, Worker = "box-1", At = DateTimeOffset.UtcNow });
        await output.UntilAsync("encode");
        await ReportAsync(new JobReport { JobId = _jobId, TrackId = "t", Phase = JobPhase.Encode, Progress = 0.5, Worker = "box-1", At = DateTimeOffset.UtcNow.AddSeconds(5) });
        await ReportAsync(new JobReport { JobId = _jobId, TrackId = "t", Phase = JobPhase.Failed, Failure = JobFailure.EmptyMaster, Message = "It is so.", At = DateTimeOffset.UtcNow });
        await output.UntilAsync("emptyMaster");
        await stop.CancelAsync();
        Assert.Equal(ExitCode.Interrupted, await watching.WaitAsync(Bound, TestContext.Current.CancellationToken));
        Assert.Equal(3, output.Count);
    }

    [Fact]
    public async Task UnknownPhase_AndUnreachableOrigin_AreSaid()
    {
        Assert.Equal(ExitCode.Usage, (await RunAsync("jobs", "--phase", "sleeping")).ExitCode);
        Assert.Equal(ExitCode.Unreachable, (await Runs.RunAsync("jobs", "--origin", "http://127.0.0.1:1", "--api-key", "dk_x")).ExitCode);
    }

    private async Task ReportAsync(JobReport report)
    {
        await _queue.ReportAsync(report, default);
        using var origin = new OriginClient(_node.Address, _secret);
        for (var deadline = DateTime.UtcNow + Bound; (await origin.GetTrackAsync("t", default)).Job!.UpdatedAt < report.At;)
        {
            Assert.True(DateTime.UtcNow < deadline, "The report was not read.");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    private string[] Connection() => ["--origin", _node.Address.ToString(), "--api-key", _secret, "--data", _folder.Path];

    private Task<(int ExitCode, string Output, string Errors)> RunAsync(params string[] arguments) => Runs.RunAsync([.. arguments, .. Connection()]);

    /// <summary>The lines that a running command has written.</summary>
    private sealed class Lines : StringWriter
    {
        private readonly Lock _lock = new();
        private readonly List<string> _lines = [];

        public int Count
        {
            get
            {
                lock (_lock)
                    return _lines.Count;
            }
        }

        public override void WriteLine(string? value)
        {
            lock (_lock)
                _lines.Add(value ?? "");
        }

        public async Task UntilAsync(string word)
        {
            for (var deadline = DateTime.UtcNow + Bound; ; await Task.Delay(10))
            {
                lock (_lock)
                {
                    if (_lines.Any(line => line.Contains(word, StringComparison.Ordinal)))
                        return;
                }

                Assert.True(DateTime.UtcNow < deadline, $"No line says {word}.");
            }
        }
    }
}
