using Delivery.Metrics;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Jobs.Rabbit;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Tools;
using Delivery.Transcoder.Verification;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Delivery.Transcoder;

/// <summary>A worker: takes jobs from a queue, masters from a store, and puts renditions and result manifests into it.</summary>
public sealed partial class TranscoderNode : IAsyncDisposable
{
    private readonly CancellationTokenSource _drain;
    private readonly CancellationTokenSource _stop = new();
    private readonly WorkArea _area;
    private readonly TranscoderMetrics _metrics;
    private readonly AdminServer _admin;
    private readonly Worker _worker;
    private readonly TranscoderOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Task _slots;
    private int _disposed;

    private TranscoderNode(
        CancellationTokenSource drain, WorkArea area, TranscoderMetrics metrics, AdminServer admin, Worker worker, TranscoderOptions options, TimeProvider time, ILogger logger,
        Isolation isolation, string encoderId)
    {
        (_drain, _area, _metrics, _admin, _worker, _options, _time, _logger) = (drain, area, metrics, admin, worker, options, time, logger);
        (Isolation, EncoderId) = (isolation, encoderId);
        _slots = Task.WhenAll(Enumerable.Range(0, options.Slots).Select(_ => Task.Run(() => worker.RunAsync(_drain.Token, _stop.Token), CancellationToken.None)));
    }

    /// <summary>Where <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c> listen.</summary>
    public Uri AdminAddress => _admin.Address;

    /// <summary>Who it is in its reports (<see cref="TranscoderOptions.WorkerId"/>).</summary>
    public string WorkerId => _options.WorkerId;

    /// <summary>What stands in the key of every result of this worker, for example <c>ffmpeg-5.1.9-1a2b3c4d</c>.</summary>
    public string EncoderId { get; }

    /// <summary>How the tools are kept from this machine.</summary>
    public Isolation Isolation { get; }

    /// <summary>Finds the tools, tries them on a reference master (about a second), and starts to take jobs.</summary>
    /// <exception cref="OptionsValidationException">Lists everything that is wrong with the options.</exception>
    /// <exception cref="ToolsMissingException">Says what to install.</exception>
    /// <exception cref="IOException">The work folder cannot be used, or the admin port is taken; the message says which.</exception>
    /// <exception cref="System.Net.Sockets.SocketException">The admin port cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">The work folder cannot be used.</exception>
    public static async Task<TranscoderNode> StartAsync(
        TranscoderOptions o, IObjectStore store, IJobQueue queue, ILoggerFactory log, TimeProvider time, CancellationToken ct)
    {
        if (o.Validate() is { Count: > 0 } problems)
            throw new OptionsValidationException("Transcoder", typeof(TranscoderOptions), problems);
        var logger = log.CreateLogger<TranscoderNode>();
        var tools = ToolSet.Find(o.ToolPath);
        var area = WorkArea.Open(o.WorkFolder, out var removed);
        if (removed > 0)
            LeftoversRemoved(logger, removed, o.WorkFolder);
        Isolation isolation;
        ToolCage cage;
        EncoderProfile profile;
        try
        {
            isolation = await IsolateAsync(tools, o, area, logger, time, ct);
            cage = new ToolCage(tools, isolation, time);
            profile = await EncoderProfile.DetectAsync(tools, cage, o, area, ct);
        }
        catch
        {
            area.Dispose();
            throw;
        }

        // Listens before the meter is made: an exposition shows what is recorded while it listens.
        var drain = new CancellationTokenSource();
        AdminServer admin;
        try
        {
            var exposition = new PrometheusExposition(TranscoderMetrics.MeterName, RabbitJobQueue.MeterName, FailoverStore.MeterName);
            admin = await AdminServer.StartAsync(o.AdminPort, exposition, () => NotReady(queue, drain), log, ct);
        }
        catch
        {
            area.Dispose();
            throw;
        }

        var metrics = new TranscoderMetrics(isolation, o.Slots);
        cage.OnEnd = metrics.ToolEnded;
        var runner = new JobRunner(
            new RetryingStore(store, metrics.StoreRetried, time), o, profile, area, new Prober(tools, cage, o), new Encoder(tools, cage, o), new Verifier(tools, cage, o), metrics, time);
        var worker = new Worker(queue, runner, o, metrics, time, log.CreateLogger<Worker>());
        Started(logger, profile.Id, o.Slots, isolation, profile.CanEncodeHeAacV2);
        return new TranscoderNode(drain, area, metrics, admin, worker, o, time, logger, isolation, profile.Id);
    }

    /// <summary>
    /// Takes no further job, lets the running ones go on for <see cref="TranscoderOptions.DrainTime"/>, then ends their tools and gives them back to the queue. Until it is done, <c>/readyz</c>
    /// says so.
    /// </summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _drain.CancelAsync();
        if (_worker.Running is > 0 and var running && _options.DrainTime > TimeSpan.Zero)
        {
            Draining(_logger, running, _options.DrainTime);
            await _slots.WaitAsync(_options.DrainTime, _time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await _stop.CancelAsync();
        await _slots;
        await _admin.DisposeAsync();
        _area.Dispose();
        _metrics.Dispose();
        _drain.Dispose();
        _stop.Dispose();
    }

    private static async Task<Isolation> IsolateAsync(ToolSet tools, TranscoderOptions o, WorkArea area, ILogger logger, TimeProvider time, CancellationToken ct)
    {
        using var folder = area.CreateJobFolder();
        var (isolation, lacks) = await IsolationProbe.ProbeAsync(tools, folder.Path, time, ct);
        if (isolation < o.RequireIsolation)
        {
            throw new ToolsMissingException(
                tools.Bwrap is null ? ["bwrap"] : [],
                $"The tools would run with the isolation {isolation}, and Transcoder:RequireIsolation asks for {o.RequireIsolation}: {lacks?.TrimEnd('.')}. Install bubblewrap and allow user namespaces, or ask for less.");
        }

        if (lacks is not null)
            NotSandboxed(logger, isolation, lacks);
        return isolation;
    }

    private static List<string> NotReady(IJobQueue queue, CancellationTokenSource drain)
    {
        List<string> reasons = [];
        if (drain.IsCancellationRequested)
            reasons.Add("it stops: running jobs may end, no further one is taken");
        if (queue.Problem is { } problem)
            reasons.Add(problem);
        return reasons;
    }


    [LoggerMessage(3001, LogLevel.Information, "Transcoder started: encoder {EncoderId}, {Slots} slots, isolation {Isolation}, HE-AAC v2 {HeAacV2}")]
    private static partial void Started(ILogger logger, string encoderId, int slots, Isolation isolation, bool heAacV2);

    [LoggerMessage(3002, LogLevel.Warning, "The tools run with the isolation {Isolation}, not in a sandbox: a decoder with a hole could read what the worker can. {Lacks}")]
    private static partial void NotSandboxed(ILogger logger, Isolation isolation, string lacks);

    [LoggerMessage(3003, LogLevel.Information, "Removed what {Count} dead workers left in {WorkFolder}")]
    private static partial void LeftoversRemoved(ILogger logger, int count, string workFolder);

    [LoggerMessage(3019, LogLevel.Information, "Transcoder stops: {Running} jobs have {DrainTime} to end")]
    private static partial void Draining(ILogger logger, int running, TimeSpan drainTime);
}
