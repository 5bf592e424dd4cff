using System.Globalization;
using System.Runtime.CompilerServices;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using RabbitMQ.Client;
using RabbitMQ.Client.Events;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>
/// The queue of a farm of many processes, over RabbitMQ from 3.10 on: quorum queues, publisher confirms, acknowledgements by hand (docs/formats/jobs.md,
/// ADR 0018). Never waits for the broker to be there: it connects and connects again in the background, <see cref="Problem"/> says why it is not.
/// </summary>
/// <remarks>
/// While the broker is away: jobs, ends and cancels wait up to <see cref="BrokerOptions.OperationTimeout"/>, then fail with a <see cref="QueueException"/>; progress is
/// dropped; receivers and readers wait; deliveries in hand stay good for their work, and the broker gives them out again when it is back.
/// </remarks>
public sealed partial class RabbitJobQueue : IJobQueue
{
    public const string MeterName = "Delivery.Queue";

    /// <summary>Ends that the reader has not completed; the broker keeps the rest. As many as an origin publishes in some seconds.</summary>
    private const ushort MaxUnsettledReports = 256;

    /// <summary>Cancels on their way to this process; the oldest leave.</summary>
    private const int MaxCancels = 10_000;

    /// <summary>Ends remembered so that progress that was overtaken is not shown after them.</summary>
    private const int RememberedEnds = 10_000;

    private const string SentAtHeader = "sent-at";

    private readonly BrokerOptions _options;
    private readonly BrokerTopology _topology;
    private readonly BrokerMetrics _metrics;
    private readonly BrokerConnection _connection;
    private readonly BrokerPublisher _publisher;
    private readonly JobPoller _poller;
    private readonly HeldJobs _held = new();
    private readonly RecentStamps _ends = new(RememberedEnds);
    private readonly Stamps _stamps;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly bool _readsReports;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _polling;
    private string _progressQueue = "";
    private int _isReading;
    private int _disposed;

    private RabbitJobQueue(BrokerOptions options, ILoggerFactory log, TimeProvider time, bool readsReports)
    {
        (_options, _time, _readsReports) = (options, time, readsReports);
        _logger = log.CreateLogger<RabbitJobQueue>();
        _stamps = new Stamps(time);
        _topology = new BrokerTopology(options);
        _metrics = new BrokerMetrics(() => Problem is null);
        _connection = new BrokerConnection(options, _topology, _metrics, time, log.CreateLogger<BrokerConnection>(), PrepareAsync);
        _publisher = new BrokerPublisher(_connection, options, _metrics, time);
        var parts = new RabbitJobDelivery.Parts(_held, _publisher, _topology, time, _logger);
        _poller = new JobPoller(_connection, options, _metrics, parts, RefuseAsync, SetAsideAsync);
        _polling = Task.Run(() => _poller.RunAsync(_stop.Token));
    }

    /// <summary>Returns at once; the broker need not be there yet.</summary>
    /// <param name="readsReports">Whether this process calls <see cref="ReadReportsAsync"/>: false spares the broker a copy of all progress.</param>
    /// <exception cref="OptionsValidationException">Lists everything that is wrong with the options.</exception>
    public static RabbitJobQueue Open(BrokerOptions options, ILoggerFactory log, TimeProvider time, bool readsReports = true)
    {
        ArgumentNullException.ThrowIfNull(options);
        if (options.Validate() is { Count: > 0 } problems)
            throw new OptionsValidationException("Broker", typeof(BrokerOptions), problems);
        return new RabbitJobQueue(options, log, time, readsReports);
    }

    public bool OutlivesProcess => true;

    public string? Problem => _connection.Problem;

    /// <inheritdoc/>
    /// <remarks>The same job enqueued twice is two deliveries.</remarks>
    /// <exception cref="QueueException">The broker stayed away, or the line is full (<see cref="QueueException.IsFull"/>).</exception>
    public async ValueTask EnqueueAsync(TranscodeJob job, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(job);
        var message = new JobMessage(MessageJson.Write(job), Attempt: 1, Losses: 0, FailingSince: null, _stamps.Next());
        var urgency = job.Urgency(_time.GetUtcNow());
        await _publisher.PublishAsync(MessageKind.Job, _topology.JobsExchange, BrokerTopology.Key(urgency), message.Properties(job.JobId), message.Body, cancellationToken);
        _poller.Wake();
    }

    /// <inheritdoc/>
    /// <exception cref="ObjectDisposedException">The queue was closed meanwhile.</exception>
    public async ValueTask<JobDelivery> ReceiveAsync(CancellationToken cancellationToken) => await _poller.ReceiveAsync(cancellationToken);

    /// <inheritdoc/>
    /// <exception cref="QueueException">The broker stayed away: only this process knows of it.</exception>
    public async ValueTask CancelAsync(string jobId, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(jobId);
        var stamp = _stamps.Next();
        _held.Cancel(jobId, stamp); // Here without the way over the broker.
        var properties = new BasicProperties { Type = "cancel", Headers = new Dictionary<string, object?> { [SentAtHeader] = stamp } };
        await _publisher.PublishAsync(MessageKind.Cancel, _topology.CancelExchange, "", properties, System.Text.Encoding.UTF8.GetBytes(jobId), cancellationToken, mandatory: false);
    }

    /// <inheritdoc/>
    /// <exception cref="QueueException">An end that the broker did not take in time: send it again.</exception>
    public async ValueTask ReportAsync(JobReport report, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(report);
        var isEnd = report.Phase is JobPhase.Done or JobPhase.Failed;
        var properties = new BasicProperties
        {
            Type = "report",
            ContentType = "application/json",
            DeliveryMode = isEnd ? DeliveryModes.Persistent : DeliveryModes.Transient,
            Headers = new Dictionary<string, object?> { [SentAtHeader] = _stamps.Next() },
        };
        if (isEnd)
        {
            await _publisher.PublishAsync(MessageKind.Report, "", _topology.Reports, properties, MessageJson.Write(report), cancellationToken);
            return;
        }

        if (_connection.Current is not { Blocked: null } session)
        {
            _metrics.Published(MessageKind.Progress, PublishOutcome.Dropped);
            return;
        }

        try
        {
            await session.Jobs.BasicPublishAsync(_topology.ProgressExchange, "", mandatory: false, properties, MessageJson.Write(report), cancellationToken);
            _metrics.Published(MessageKind.Progress, PublishOutcome.Sent);
        }
        catch (Exception error) when (!cancellationToken.IsCancellationRequested)
        {
            session.End(error.Message);
            _metrics.Published(MessageKind.Progress, PublishOutcome.Dropped);
        }
    }

    /// <inheritdoc/>
    /// <remarks>
    /// Also gives a Failed report (<see cref="JobFailure.WorkersLost"/>) for each job that reached <see cref="BrokerOptions.DeliveryLimit"/>. Several origins share the ends, and each sees all
    /// progress. Ends that are not completed when the reading stops are read again.
    /// </remarks>
    /// <exception cref="InvalidOperationException">There is a reader already, or the queue was opened without one.</exception>
    public async IAsyncEnumerable<ReportDelivery> ReadReportsAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (!_readsReports)
            throw new InvalidOperationException("The queue was opened as one that reads no reports.");
        if (Interlocked.Exchange(ref _isReading, 1) != 0)
            throw new InvalidOperationException("One reader in each process.");
        try
        {
            while (true)
            {
                var session = await _connection.GetAsync(cancellationToken);
                var inbox = new ReportInbox(_ends);
                await using var channel = await TrySubscribeAsync(session, inbox, cancellationToken);
                if (channel is null)
                    continue;
                while (await TryTakeAsync(inbox, session, cancellationToken) is { } item)
                {
                    if (item.Report is { } report)
                        yield return report;
                    else
                        await TrySetAsideAsync(item.SetAside!, session, cancellationToken);
                }
            }
        }
        finally
        {
            Volatile.Write(ref _isReading, 0);
        }
    }

    /// <inheritdoc/>
    /// <exception cref="QueueException">The broker is away.</exception>
    public async ValueTask<QueueDepth> MeasureAsync(CancellationToken cancellationToken)
    {
        var session = _connection.Current ?? throw new QueueException(Problem ?? $"The message broker {_options.Shown} was just lost; try again.");
        try
        {
            var waiting = new Dictionary<JobUrgency, long>();
            foreach (var urgency in BrokerTopology.Urgencies)
                waiting[urgency] = await session.Jobs.MessageCountAsync(_topology.Line(urgency), cancellationToken);
            long delayed = 0;
            foreach (var delay in _topology.Delays)
                delayed += await session.Jobs.MessageCountAsync(delay, cancellationToken);
            return new QueueDepth(waiting, delayed, await session.Jobs.MessageCountAsync(_topology.Dead, cancellationToken));
        }
        catch (Exception error) when (!cancellationToken.IsCancellationRequested)
        {
            session.End(error.Message);
            throw new QueueException($"The message broker {_options.Shown} was lost while it was asked; try again.", error);
        }
    }

    /// <summary>Closes the connection. The broker gives out again what this process still holds, as a loss: release it first.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        await _stop.CancelAsync();
        await _polling;
        await _connection.DisposeAsync();
        _metrics.Dispose();
        _stop.Dispose();
    }

    private async Task PrepareAsync(BrokerSession session, CancellationToken cancellationToken)
    {
        var cancels = await DeclareOwnAsync(_topology.CancelExchange, MaxCancels);
        var consumer = new AsyncEventingBasicConsumer(session.Jobs);
        consumer.ReceivedAsync += (_, cancel) =>
        {
            if (cancel.Body.Length > 0 && JobMessage.Number(cancel.BasicProperties, SentAtHeader) is { } stamp)
                _held.Cancel(System.Text.Encoding.UTF8.GetString(cancel.Body.Span), stamp);
            return Task.CompletedTask;
        };
        await session.Jobs.BasicConsumeAsync(cancels, autoAck: true, consumer, cancellationToken);
        // There from now on, so that progress before the first read is kept.
        if (_readsReports)
            _progressQueue = await DeclareOwnAsync(_topology.ProgressExchange, BrokerTopology.MaxProgress);

        // Gone with the connection.
        async Task<string> DeclareOwnAsync(string exchange, int maxLength)
        {
            var arguments = new Dictionary<string, object?> { ["x-max-length"] = maxLength, ["x-overflow"] = "drop-head" };
            var name = $"{exchange}.{Guid.NewGuid():n}";
            await session.Jobs.QueueDeclareAsync(name, durable: false, exclusive: true, autoDelete: true, arguments, cancellationToken: cancellationToken);
            await session.Jobs.QueueBindAsync(name, exchange, "", cancellationToken: cancellationToken);
            return name;
        }
    }

    private static async Task TrySetAsideAsync(Func<Task> setAside, BrokerSession session, CancellationToken cancellationToken)
    {
        try
        {
            await setAside();
        }
        catch (Exception error)
        {
            cancellationToken.ThrowIfCancellationRequested();
            session.End(error.Message); // It comes again.
        }
    }

    private static async Task<InboxItem?> TryTakeAsync(ReportInbox inbox, BrokerSession session, CancellationToken cancellationToken)
    {
        using var alive = CancellationTokenSource.CreateLinkedTokenSource(session.Ended, cancellationToken);
        try
        {
            return await inbox.TakeAsync(alive.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return null;
        }
    }

    private async Task<IChannel?> TrySubscribeAsync(BrokerSession session, ReportInbox inbox, CancellationToken cancellationToken)
    {
        IChannel? channel = null;
        try
        {
            channel = await session.CreateChannelAsync(confirmed: false, cancellationToken);
            await channel.BasicQosAsync(0, MaxUnsettledReports, global: false, cancellationToken);
            await ConsumeAsync(_progressQueue, autoAck: true, message => ReadReport(channel, inbox, isEnd: false, message));
            await ConsumeAsync(_topology.Reports, autoAck: false, message => ReadReport(channel, inbox, isEnd: true, message));
            await ConsumeAsync(_topology.Dead, autoAck: false, message => ReadDead(channel, inbox, message));
            return channel;

            // Handlers ask nothing of the broker: when the channel is closed, the client's only reading loop waits for them.
            async Task ConsumeAsync(string queue, bool autoAck, Action<BasicDeliverEventArgs> handle)
            {
                var consumer = new AsyncEventingBasicConsumer(channel);
                consumer.ReceivedAsync += (_, message) =>
                {
                    handle(message);
                    return Task.CompletedTask;
                };
                await channel.BasicConsumeAsync(queue, autoAck, consumer, cancellationToken);
            }
        }
        catch (Exception error)
        {
            if (channel is not null)
                await channel.DisposeAsync();
            cancellationToken.ThrowIfCancellationRequested();
            session.End(error.Message);
            return null;
        }
    }

    private void ReadReport(IChannel channel, ReportInbox inbox, bool isEnd, BasicDeliverEventArgs message)
    {
        var (report, tooNew, fault) = MessageJson.ReadReport(message.Body);
        var sentAt = JobMessage.Number(message.BasicProperties, SentAtHeader) ?? 0;
        if (report is null)
        {
            // Progress is not worth keeping. An end in a newer format is for an origin that knows it.
            if (isEnd)
                AddUnreadable(channel, inbox, _topology.Reports, message, fault ?? $"it has the format {tooNew!.Format}, this origin knows 1; upgrade the origin, then retry the job");
        }
        else if (isEnd)
        {
            inbox.AddEnd(new UnsettledReport(report, channel, message.DeliveryTag), sentAt);
        }
        else
        {
            inbox.AddProgress(new SettledReport(report), sentAt);
        }
    }

    private void ReadDead(IChannel channel, ReportInbox inbox, BasicDeliverEventArgs message)
    {
        var (job, tooNew, fault) = MessageJson.ReadJob(message.Body);
        if (job is null && tooNew is null)
        {
            AddUnreadable(channel, inbox, _topology.Dead, message, fault!);
            return;
        }

        var reason = JobMessage.DeathReason(message.BasicProperties);
        var losses = _options.DeliveryLimit + 1;
        var attempt = JobMessage.From(message.BasicProperties, default).Attempt + _options.DeliveryLimit;
        var report = new JobReport
        {
            JobId = job?.JobId ?? tooNew!.JobId,
            TrackId = job?.TrackId ?? tooNew!.TrackId,
            Phase = JobPhase.Failed,
            Attempt = attempt,
            Failure = JobFailure.WorkersLost,
            Message = reason == "delivery_limit"
                ? string.Create(CultureInfo.InvariantCulture, $"Workers were lost at this job {losses} times (delivery_limit); look at the master and at the workers' logs, then retry the job.")
                : $"The broker gave up this job ({reason}); look at the broker's log, then retry the job.",
            At = _time.GetUtcNow(),
        };
        LogDead(report.JobId, reason);
        inbox.AddEnd(new UnsettledReport(report, channel, message.DeliveryTag), _stamps.Next());
    }

    private void AddUnreadable(IChannel channel, ReportInbox inbox, string queue, BasicDeliverEventArgs message, string fault)
    {
        var (tag, properties, body) = (message.DeliveryTag, message.BasicProperties, message.Body.ToArray());
        inbox.AddUnreadable(async () =>
        {
            await SetAsideAsync(queue, properties, body, fault);
            await channel.BasicAckAsync(tag, multiple: false);
        });
    }

    private async Task RefuseAsync(TooNew job)
    {
        LogTooNew(job.JobId, job.Format);
        var message = string.Create(CultureInfo.InvariantCulture, $"The job has the format {job.Format}, a worker of this farm knows 1; upgrade the workers, then retry the job.");
        await ReportAsync(
            new JobReport { JobId = job.JobId, TrackId = job.TrackId, Phase = JobPhase.Failed, Failure = JobFailure.Internal, Message = message, At = _time.GetUtcNow() }, _stop.Token);
    }

    private async Task SetAsideAsync(string queue, IReadOnlyBasicProperties properties, ReadOnlyMemory<byte> body, string fault)
    {
        var copy = new BasicProperties(properties) { DeliveryMode = DeliveryModes.Persistent, Headers = new Dictionary<string, object?> { ["from"] = queue, ["fault"] = fault } };
        await _publisher.PublishAsync(MessageKind.Unreadable, "", _topology.Unreadable, copy, body, _stop.Token);
        _metrics.Unreadable();
        LogUnreadable(queue, _topology.Unreadable, fault);
    }

    [LoggerMessage(3107, LogLevel.Error, "A message in {Queue} cannot be read and was moved to {Unreadable}: {Fault}")]
    private partial void LogUnreadable(string queue, string unreadable, string fault);

    [LoggerMessage(3108, LogLevel.Error, "Job {JobId}: the broker gave it up ({Reason}); it is reported as failed")]
    private partial void LogDead(string jobId, string reason);

    [LoggerMessage(3109, LogLevel.Error, "Job {JobId}: refused, as it has the format {Format} and this worker knows 1")]
    private partial void LogTooNew(string jobId, int format);

    private sealed class SettledReport(JobReport report) : ReportDelivery
    {
        public override JobReport Report => report;

        public override ValueTask CompleteAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
    }

    private sealed class UnsettledReport(JobReport report, IChannel channel, ulong tag) : ReportDelivery
    {
        public override JobReport Report => report;

        /// <inheritdoc/>
        /// <remarks>Where the connection was lost meanwhile, the report is read again: what is done with it must bear that.</remarks>
        public override async ValueTask CompleteAsync(CancellationToken cancellationToken)
        {
            try
            {
                await channel.BasicAckAsync(tag, multiple: false, cancellationToken);
            }
            catch (Exception) when (!cancellationToken.IsCancellationRequested)
            {
            }
        }
    }
}
