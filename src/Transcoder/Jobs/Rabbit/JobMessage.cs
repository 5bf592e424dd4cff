using System.Globalization;
using System.Text.Json;
using Delivery.Transcoder.Results;
using RabbitMQ.Client;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>A job as a message: the body is its JSON, the headers are what the queue knows of it (docs/formats/jobs.md).</summary>
/// <param name="Body">As it came, so that what a newer origin wrote into it stays.</param>
/// <param name="Attempt">Of the next delivery, without its losses.</param>
/// <param name="Losses">Of this try, before the broker counted anew.</param>
/// <param name="EnqueuedAt">The sender's stamp (<see cref="Stamps"/>); a cancel that is older does not mean this job.</param>
internal sealed record JobMessage(ReadOnlyMemory<byte> Body, int Attempt, int Losses, DateTimeOffset? FailingSince, long EnqueuedAt)
{
    private const string AttemptHeader = "attempt", LossesHeader = "losses", FailingSinceHeader = "failing-since", EnqueuedAtHeader = "enqueued-at";
    private const string DeliveryCountHeader = "x-delivery-count", DeathReasonHeader = "x-first-death-reason";

    public BasicProperties Properties(string jobId) => new()
    {
        Type = "job",
        ContentType = "application/json",
        DeliveryMode = DeliveryModes.Persistent,
        // Of this message, not of the job: the same message may come twice, and a job may be in several.
        MessageId = $"{Guid.NewGuid():n}",
        CorrelationId = jobId.Length <= 200 ? jobId : null,
        Headers = new Dictionary<string, object?>
        {
            [AttemptHeader] = Attempt,
            [LossesHeader] = Losses,
            [FailingSinceHeader] = FailingSince is { } since ? since.ToString("O", CultureInfo.InvariantCulture) : null,
            [EnqueuedAtHeader] = EnqueuedAt,
        }.Where(h => h.Value is not null).ToDictionary(),
    };

    /// <summary>What was received. Headers that are not there or make no sense are those of a first delivery.</summary>
    public static JobMessage From(IReadOnlyBasicProperties properties, ReadOnlyMemory<byte> body) => new(
        body,
        (int)Math.Clamp(Number(properties, AttemptHeader) ?? 1, 1, int.MaxValue / 2),
        (int)Math.Clamp(Number(properties, LossesHeader) ?? 0, 0, int.MaxValue / 2),
        DateTimeOffset.TryParse(Text(properties, FailingSinceHeader), CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind, out var since) ? since : null,
        Number(properties, EnqueuedAtHeader) ?? 0);

    /// <summary>How often the broker has given this message to a worker that was lost.</summary>
    public static int DeliveryCount(IReadOnlyBasicProperties properties) => (int)Math.Clamp(Number(properties, DeliveryCountHeader) ?? 0, 0, 1_000_000);

    public static string DeathReason(IReadOnlyBasicProperties properties) => Text(properties, DeathReasonHeader) ?? "unknown";

    public static long? Number(IReadOnlyBasicProperties properties, string header) => Header(properties, header) switch
    {
        long number => number,
        int number => number,
        short number => number,
        byte number => number,
        _ => null,
    };

    private static string? Text(IReadOnlyBasicProperties properties, string header) => Header(properties, header) is byte[] bytes ? System.Text.Encoding.UTF8.GetString(bytes) : null;

    private static object? Header(IReadOnlyBasicProperties properties, string header) => properties.Headers is { } headers && headers.TryGetValue(header, out var value) ? value : null;
}

/// <summary>Reads the JSON of messages.</summary>
internal static class MessageJson
{
    /// <summary>A job has about 400 bytes, a report 600.</summary>
    private const int MaxBytes = 256 * 1024;

    public static byte[] Write(TranscodeJob job) => JsonSerializer.SerializeToUtf8Bytes(job, ResultJson.Default.TranscodeJob);

    public static byte[] Write(JobReport report) => JsonSerializer.SerializeToUtf8Bytes(report, ResultJson.Default.JobReport);

    /// <returns>The job; or, of a newer format, only its ids and its format; or why it is neither.</returns>
    public static (TranscodeJob? Job, TooNew? TooNew, string? Fault) ReadJob(ReadOnlyMemory<byte> body) =>
        Read(body, () => JsonSerializer.Deserialize(body.Span, ResultJson.Default.TranscodeJob), job => job.JobId is { Length: > 0 } && job.TrackId is not null);

    /// <inheritdoc cref="ReadJob"/>
    public static (JobReport? Report, TooNew? TooNew, string? Fault) ReadReport(ReadOnlyMemory<byte> body) =>
        Read(body, () => JsonSerializer.Deserialize(body.Span, ResultJson.Default.JobReport), report => report.JobId is { Length: > 0 } && report.TrackId is not null);

    private static (T?, TooNew?, string?) Read<T>(ReadOnlyMemory<byte> body, Func<T?> read, Func<T, bool> isWhole)
        where T : class
    {
        if (body.Length > MaxBytes)
            return (null, null, $"it has {body.Length} bytes, more than {MaxBytes}");
        try
        {
            using (var document = JsonDocument.Parse(body))
            {
                if (document.RootElement.ValueKind != JsonValueKind.Object)
                    return (null, null, "it is not a JSON object");
                var format = Property("format") is { ValueKind: JsonValueKind.Number } number && number.TryGetInt32(out var given) ? given : 1;
                if (format != 1)
                {
                    return format > 1 && String("jobId") is { } jobId && String("trackId") is { } trackId
                        ? (null, new TooNew(jobId, trackId, format), null)
                        : (null, null, $"it has the format {format}");
                }

                JsonElement? Property(string name) => document.RootElement.TryGetProperty(name, out var value) ? value : null;
                string? String(string name) => Property(name) is { ValueKind: JsonValueKind.String } value && value.GetString() is { Length: > 0 } text ? text : null;
            }

            var message = read();
            return message is not null && isWhole(message) ? (message, null, null) : (null, null, "it names no job");
        }
        catch (JsonException error)
        {
            return (null, null, error.Message);
        }
    }
}

/// <summary>Of a message in a format that this process does not know.</summary>
internal sealed record TooNew(string JobId, string TrackId, int Format);

/// <summary>Times of this process that never repeat and never run backwards: ticks of 100 ns since the year 1.</summary>
internal sealed class Stamps(TimeProvider time)
{
    private long _last;

    public long Next()
    {
        while (true)
        {
            var last = Volatile.Read(ref _last);
            var next = Math.Max(last + 1, time.GetUtcNow().UtcTicks);
            if (Interlocked.CompareExchange(ref _last, next, last) == last)
                return next;
        }
    }
}
