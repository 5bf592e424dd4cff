using Delivery.Metrics;
using Delivery.ObjectStore;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Tools;
using Delivery.Transcoder.Verification;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Delivery.Transcoder;

/// <summary>A worker: takes jobs from a queue, masters from a store, and puts renditions and result manifests into it.</summary>
public sealed partial class TranscoderNode : IAsyncDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly WorkArea _area;
    private readonly TranscoderMetrics _metrics;
    private readonly AdminServer _admin;
    private Task _slots = Task.CompletedTask;
    private int _disposed;

    private TranscoderNode(WorkArea area, TranscoderMetrics metrics, AdminServer admin, Isolation isolation, string encoderId) =>
        (_area, _metrics, _admin, Isolation, EncoderId) = (area, metrics, admin, isolation, encoderId);

    /// <summary>Where <c>/metrics</c>, <c>/healthz</c> and <c>/readyz</c> listen.</summary>
    public Uri AdminAddress => _admin.Address;

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
        AdminServer admin;
        try
        {
            admin = await AdminServer.StartAsync(o.AdminPort, new PrometheusExposition(TranscoderMetrics.MeterName), () => [], log, ct);
        }
        catch
        {
            area.Dispose();
            throw;
        }

        var metrics = new TranscoderMetrics(isolation);
        cage.OnEnd = metrics.ToolEnded;
        var runner = new JobRunner(store, o, profile, area, new Prober(tools, cage, o), new Encoder(tools, cage, o), new Verifier(tools, cage, o), metrics, time);
        var worker = new Worker(queue, runner, o, metrics, time, log.CreateLogger<Worker>());
        var node = new TranscoderNode(area, metrics, admin, isolation, profile.Id);
        node._slots = Task.WhenAll(Enumerable.Range(0, o.Slots).Select(_ => Task.Run(() => worker.RunAsync(node._stop.Token), CancellationToken.None)));
        Started(logger, profile.Id, o.Slots, isolation, profile.CanEncodeHeAacV2);
        return node;
    }

    /// <summary>Drains: running tools are ended, their deliveries returned to the queue, temporary files removed.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _stop.CancelAsync();
        await _slots;
        await _admin.DisposeAsync();
        _area.Dispose();
        _metrics.Dispose();
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

    [LoggerMessage(3001, LogLevel.Information, "Transcoder started: encoder {EncoderId}, {Slots} slots, isolation {Isolation}, HE-AAC v2 {HeAacV2}")]
    private static partial void Started(ILogger logger, string encoderId, int slots, Isolation isolation, bool heAacV2);

    [LoggerMessage(3002, LogLevel.Warning, "The tools run with the isolation {Isolation}, not in a sandbox: a decoder with a hole could read what the worker can. {Lacks}")]
    private static partial void NotSandboxed(ILogger logger, Isolation isolation, string lacks);

    [LoggerMessage(3003, LogLevel.Information, "Removed what {Count} dead workers left in {WorkFolder}")]
    private static partial void LeftoversRemoved(ILogger logger, int count, string workFolder);
}
