using RabbitMQ.Client;
using RabbitMQ.Client.Exceptions;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>The queues and exchanges of one farm, made by whoever connects (docs/formats/jobs.md).</summary>
/// <remarks>
/// <code>
/// jobs (topic) ─ hour, *.hour ──▶ jobs.hour ─┐ delivery limit
///              ─ day, *.day ────▶ jobs.day   ├────────────────▶ jobs.dead
///              ─ …                jobs.…     ┘
///   ▲ expired
/// delay (topic) ─ 4000.* ──▶ delay.4000, …
/// reports    progress (fanout) ──▶ one queue per origin    cancel (fanout) ──▶ one queue per process    unreadable
/// </code>
/// </remarks>
internal sealed class BrokerTopology(BrokerOptions options)
{
    /// <summary>Kept to be looked at by a person; the oldest leave.</summary>
    public const int MaxUnreadable = 1000;

    /// <summary>Progress that an origin has not read yet; the oldest leaves, and newer is on its way.</summary>
    public const int MaxProgress = 10_000;

    /// <summary>A report may be read again as often as origins restart before they have settled it. RabbitMQ 4 would drop it after 20 times.</summary>
    private const int ReportDeliveryLimit = 1_000_000;

    public static readonly IReadOnlyList<JobUrgency> Urgencies = Enum.GetValues<JobUrgency>();

    public string JobsExchange { get; } = $"{options.Prefix}.jobs";

    public string DelayExchange { get; } = $"{options.Prefix}.delay";

    public string ProgressExchange { get; } = $"{options.Prefix}.progress";

    public string CancelExchange { get; } = $"{options.Prefix}.cancel";

    public string Dead { get; } = $"{options.Prefix}.jobs.dead";

    public string Reports { get; } = $"{options.Prefix}.reports";

    public string Unreadable { get; } = $"{options.Prefix}.unreadable";

    public IEnumerable<string> Delays => options.DelayLevels.Select(level => $"{DelayExchange}.{Milliseconds(level)}");

    public string Line(JobUrgency urgency) => $"{JobsExchange}.{Key(urgency)}";

    public static string Key(JobUrgency urgency) => urgency.ToString().ToLowerInvariant();

    /// <summary>Through the delay exchange, to the first level that is long enough; the line stays in the key.</summary>
    public string DelayKey(JobUrgency urgency, TimeSpan delay)
    {
        var level = options.DelayLevels.FirstOrDefault(l => l >= delay, options.DelayLevels[^1]);
        return $"{Milliseconds(level)}.{Key(urgency)}";
    }

    /// <exception cref="QueueException">A queue exists with other arguments.</exception>
    public async Task DeclareAsync(IChannel channel, CancellationToken cancellationToken)
    {
        await channel.ExchangeDeclareAsync(JobsExchange, ExchangeType.Topic, durable: true, cancellationToken: cancellationToken);
        await channel.ExchangeDeclareAsync(DelayExchange, ExchangeType.Topic, durable: true, cancellationToken: cancellationToken);
        await channel.ExchangeDeclareAsync(ProgressExchange, ExchangeType.Fanout, durable: true, cancellationToken: cancellationToken);
        await channel.ExchangeDeclareAsync(CancelExchange, ExchangeType.Fanout, durable: true, cancellationToken: cancellationToken);
        await DeclareAsync(Dead, new() { ["x-max-length"] = options.MaxQueued, ["x-overflow"] = "reject-publish", ["x-delivery-limit"] = ReportDeliveryLimit });
        await DeclareAsync(Unreadable, new() { ["x-max-length"] = MaxUnreadable, ["x-overflow"] = "drop-head" });
        await DeclareAsync(Reports, new() { ["x-max-length"] = options.MaxQueued, ["x-overflow"] = "reject-publish", ["x-delivery-limit"] = ReportDeliveryLimit });
        foreach (var urgency in Urgencies)
        {
            await DeclareAsync(Line(urgency), new()
            {
                ["x-max-length"] = options.MaxQueued,
                ["x-overflow"] = "reject-publish",
                ["x-delivery-limit"] = options.DeliveryLimit,
                ["x-dead-letter-exchange"] = "",
                ["x-dead-letter-routing-key"] = Dead,
                ["x-dead-letter-strategy"] = "at-least-once",
            });
            await channel.QueueBindAsync(Line(urgency), JobsExchange, Key(urgency), cancellationToken: cancellationToken);
            await channel.QueueBindAsync(Line(urgency), JobsExchange, $"*.{Key(urgency)}", cancellationToken: cancellationToken);
        }

        foreach (var (queue, level) in Delays.Zip(options.DelayLevels))
        {
            await DeclareAsync(queue, new()
            {
                ["x-max-length"] = options.MaxQueued,
                ["x-overflow"] = "reject-publish",
                ["x-message-ttl"] = Milliseconds(level),
                ["x-dead-letter-exchange"] = JobsExchange,
                // A line that is full keeps the job here until it has room.
                ["x-dead-letter-strategy"] = "at-least-once",
            });
            await channel.QueueBindAsync(queue, DelayExchange, $"{Milliseconds(level)}.*", cancellationToken: cancellationToken);
        }

        async Task DeclareAsync(string queue, Dictionary<string, object?> arguments)
        {
            arguments["x-queue-type"] = "quorum";
            try
            {
                await channel.QueueDeclareAsync(queue, durable: true, exclusive: false, autoDelete: false, arguments, cancellationToken: cancellationToken);
            }
            catch (OperationInterruptedException error) when (error.ShutdownReason?.ReplyCode == Constants.PreconditionFailed)
            {
                throw new QueueException(
                    $"The broker's queue {queue} was made with other settings than this process has ({error.ShutdownReason.ReplyText}); give all processes of the farm the same Broker settings, "
                    + "or let the queue run empty and delete it, or use another Prefix.",
                    error);
            }
        }
    }

    private static long Milliseconds(TimeSpan level) => (long)level.TotalMilliseconds;
}
