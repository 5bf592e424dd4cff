using System.Diagnostics.Metrics;
using Delivery.Edge.Cache;
using Delivery.Edge.Fills;
using Delivery.Edge.Objects;
using Delivery.TokenAuth;

namespace Delivery.Edge.Metering;

/// <summary>
/// The meter <c>Delivery.Edge</c>. What every request counts is a plain interlocked number that is read when metrics are collected, so a hit
/// builds no tags; only the first-byte histogram is recorded directly, with tags made once.
/// </summary>
internal sealed class EdgeMeter : IDisposable
{
    public const string Name = "Delivery.Edge";

    private static readonly CacheState[] CacheStates = Enum.GetValues<CacheState>();
    private static readonly FillOutcome[] FillOutcomes = Enum.GetValues<FillOutcome>();
    private static readonly TokenVerdict[] Verdicts = Enum.GetValues<TokenVerdict>();

    // RFC 9110 §15: five classes; index 0 is unused.
    private const int StatusClasses = 6;

    private static readonly KeyValuePair<string, object?>[] CacheTags =
        [.. CacheStates.Select(s => new KeyValuePair<string, object?>("cache", Label(s)))];

    private readonly Meter _meter = new(Name);
    private readonly Histogram<double> _firstByte;
    private readonly long[] _requests = new long[StatusClasses * CacheStates.Length];
    private readonly long[] _refusals = new long[Verdicts.Length];
    private readonly long[] _fills = new long[FillOutcomes.Length];
    private long _sentBytes;
    private long _filledBytes;
    private long _collapsed;
    private long _aborted;
    private long _clientLeft;

    public EdgeMeter()
    {
        _firstByte = _meter.CreateHistogram<double>(
            "delivery.edge.first_byte", "s", "From the request's headers to the first byte of the body handed to the socket.", null,
            new InstrumentAdvice<double> { HistogramBucketBoundaries = [.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5] });
        _meter.CreateObservableCounter("delivery.edge.requests", () => Measure(_requests, i =>
            [new("status", $"{i / CacheStates.Length}xx"), new("cache", Label(CacheStates[i % CacheStates.Length]))]), "{request}", "Responses by status class and cache state.");
        _meter.CreateObservableCounter("delivery.edge.refusals", () => Measure(_refusals, i => [new("verdict", Verdicts[i].ToWire())]), "{request}", "Requests refused by token verdict.");
        _meter.CreateObservableCounter("delivery.edge.fills", () => Measure(_fills, i => [new("outcome", Label(FillOutcomes[i]))]), "{fill}", "Fills that ended, by outcome.");
        _meter.CreateObservableCounter("delivery.edge.sent", () => Volatile.Read(ref _sentBytes), "By", "Body bytes handed to sockets.");
        _meter.CreateObservableCounter("delivery.edge.filled", () => Volatile.Read(ref _filledBytes), "By", "Body bytes read from upstream.");
        _meter.CreateObservableCounter("delivery.edge.collapsed", () => Volatile.Read(ref _collapsed), "{join}", "Times that a request joined another's fill.");
        _meter.CreateObservableCounter("delivery.edge.aborted", () => Volatile.Read(ref _aborted), "{response}", "Responses cut by the edge after their headers, because upstream failed.");
        _meter.CreateObservableCounter("delivery.edge.client_left", () => Volatile.Read(ref _clientLeft), "{request}", "Requests whose client left before the end.");
    }

    public long SentBytes => Volatile.Read(ref _sentBytes);

    public long ClientsThatLeft => Volatile.Read(ref _clientLeft);

    public long FilledBytes => Volatile.Read(ref _filledBytes);

    public long Requests(int statusClass, CacheState state) => Volatile.Read(ref _requests[statusClass * CacheStates.Length + (int)state]);

    public long Refusals(TokenVerdict verdict) => Volatile.Read(ref _refusals[(int)verdict]);

    public long Fills(FillOutcome outcome) => Volatile.Read(ref _fills[(int)outcome]);

    /// <summary>Gauges of what the node holds; they live as long as this meter.</summary>
    public void Watch(ChunkCache cache, ObjectTable objects, FillBuffers buffers, FillTable fills)
    {
        var hot = cache.Hot;
        _meter.CreateObservableGauge("delivery.edge.hot_tier.budget", () => hot.BudgetBytes, "By", "RAM that the hot tier may use, index included.");
        _meter.CreateObservableGauge("delivery.edge.hot_tier.used", () => hot.UsedBytes, "By", "Log that holds chunks.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.evicted", () => hot.EvictedBytes, "By", "Log dropped for space.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.admitted", () => hot.Admitted, "{chunk}", "Chunks written.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.not_admitted", () => hot.NotAdmitted, "{chunk}", "Chunks not written, because the queue was full.");
        _meter.CreateObservableGauge("delivery.edge.objects", () => objects.Count, "{object}", "Objects whose metadata is held.");
        _meter.CreateObservableGauge("delivery.edge.fill_buffers.used", () => buffers.InUse, "{buffer}", "Chunk buffers in use.");
        _meter.CreateObservableGauge("delivery.edge.fills.running", () => fills.Running, "{fill}", "Fills under way.");
    }

    public void RequestEnded(int status, CacheState state) =>
        Interlocked.Increment(ref _requests[Math.Clamp(status / 100, 1, 5) * CacheStates.Length + (int)state]);

    public void ClientLeft() => Interlocked.Increment(ref _clientLeft);

    public void Sent(long bytes) => Interlocked.Add(ref _sentBytes, bytes);

    public void FirstByte(TimeSpan elapsed, CacheState state) => _firstByte.Record(elapsed.TotalSeconds, CacheTags[(int)state]);

    public void Refused(TokenVerdict verdict) => Interlocked.Increment(ref _refusals[(int)verdict]);

    public void Filled(int bytes) => Interlocked.Add(ref _filledBytes, bytes);

    public void FillEnded(FillOutcome outcome) => Interlocked.Increment(ref _fills[(int)outcome]);

    public void Collapsed() => Interlocked.Increment(ref _collapsed);

    public void Aborted() => Interlocked.Increment(ref _aborted);

    public void Dispose() => _meter.Dispose();

    private static string Label<T>(T value)
        where T : struct, Enum => string.Concat(value.ToString().Select((c, i) => i > 0 && char.IsAsciiLetterUpper(c) ? $"_{char.ToLowerInvariant(c)}" : $"{char.ToLowerInvariant(c)}"));

    private static IEnumerable<Measurement<long>> Measure(long[] counts, Func<int, KeyValuePair<string, object?>[]> tags)
    {
        for (var i = 0; i < counts.Length; i++)
        {
            var count = Volatile.Read(ref counts[i]);
            if (count > 0)
                yield return new(count, tags(i));
        }
    }
}
