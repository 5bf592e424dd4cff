using System.Diagnostics.Metrics;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
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
    private long _missedBytes;
    private long _collapsed;
    private long _aborted;
    private long _clientLeft;

    /// <param name="forPeers">Counts what comes through the peer port, under names of its own; fills are counted where listeners are.</param>
    public EdgeMeter(bool forPeers = false)
    {
        var door = forPeers ? "delivery.edge.peer" : "delivery.edge";
        _firstByte = _meter.CreateHistogram<double>(
            $"{door}.first_byte", "s", "From the request's headers to the first byte of the body handed to the socket.", null,
            new InstrumentAdvice<double> { HistogramBucketBoundaries = [.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5] });
        _meter.CreateObservableCounter($"{door}.requests", () => Measure(_requests, i =>
            [new("status", $"{i / CacheStates.Length}xx"), new("cache", Label(CacheStates[i % CacheStates.Length]))]), "{request}", "Responses by status class and cache state.");
        _meter.CreateObservableCounter($"{door}.refusals", () => Measure(_refusals, i => [new("verdict", Verdicts[i].ToWire())]), "{request}", "Requests refused by token verdict.");
        _meter.CreateObservableCounter($"{door}.sent", () => Volatile.Read(ref _sentBytes), "By", "Body bytes handed to sockets.");
        _meter.CreateObservableCounter($"{door}.collapsed", () => Volatile.Read(ref _collapsed), "{join}", "Times that a request joined another's fill.");
        _meter.CreateObservableCounter($"{door}.aborted", () => Volatile.Read(ref _aborted), "{response}", "Responses cut by the edge after their headers, because upstream failed.");
        _meter.CreateObservableCounter($"{door}.client_left", () => Volatile.Read(ref _clientLeft), "{request}", "Requests whose client left before the end.");
        if (forPeers)
            return;
        _meter.CreateObservableCounter("delivery.edge.fills", () => Measure(_fills, i => [new("outcome", Label(FillOutcomes[i]))]), "{fill}", "Fills that ended, by outcome.");
        _meter.CreateObservableCounter("delivery.edge.filled", () => Volatile.Read(ref _filledBytes), "By", "Body bytes read from upstream.");
        _meter.CreateObservableCounter("delivery.edge.missed", () => Volatile.Read(ref _missedBytes), "By", "Bytes of the chunks that requests needed and the cache had not, each fill of one counted once.");
        _meter.CreateObservableGauge("delivery.edge.amplification", () => Amplification, "1", "Bytes read from upstream over bytes missed, since the start.");
    }

    public long SentBytes => Volatile.Read(ref _sentBytes);

    public long ClientsThatLeft => Volatile.Read(ref _clientLeft);

    public long FilledBytes => Volatile.Read(ref _filledBytes);

    public long CollapsedJoins => Volatile.Read(ref _collapsed);

    public long MissedBytes => Volatile.Read(ref _missedBytes);

    public double Amplification => MissedBytes is > 0 and var missed ? (double)FilledBytes / missed : 0;

    public long Requests(int statusClass, CacheState state) => Volatile.Read(ref _requests[statusClass * CacheStates.Length + (int)state]);

    public long Refusals(TokenVerdict verdict) => Volatile.Read(ref _refusals[(int)verdict]);

    public long Fills(FillOutcome outcome) => Volatile.Read(ref _fills[(int)outcome]);

    /// <summary>Gauges of what the node holds; they live as long as this meter.</summary>
    public void Watch(ChunkCache cache, ObjectTable objects, FillBuffers buffers, FillTable fills, ChunkRepair repair)
    {
        var hot = cache.Hot;
        _meter.CreateObservableGauge("delivery.edge.hot_tier.budget", () => hot.BudgetBytes, "By", "RAM that the hot tier may use, index included.");
        _meter.CreateObservableGauge("delivery.edge.hot_tier.used", () => hot.UsedBytes, "By", "Log that holds chunks.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.evicted", () => hot.EvictedBytes, "By", "Log dropped for space.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.admitted", () => hot.Admitted, "{chunk}", "Chunks written.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.not_admitted", () => hot.NotAdmitted, "{chunk}", "Chunks not written, because the queue was full.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.promoted", () => hot.Promoted, "{chunk}", "Chunks that left probation proven.");
        _meter.CreateObservableCounter("delivery.edge.hot_tier.kept", () => hot.KeptBytes, "By", "Log written again at a page turn.");
        _meter.CreateObservableGauge("delivery.edge.pinned", () => cache.Pins.Bytes, "By", "Bytes of pinned objects.");
        _meter.CreateObservableGauge("delivery.edge.objects", () => objects.Count, "{object}", "Objects whose metadata is held.");
        _meter.CreateObservableGauge("delivery.edge.fill_buffers.used", () => buffers.InUse, "{buffer}", "Chunk buffers in use.");
        _meter.CreateObservableGauge("delivery.edge.fills.running", () => fills.Running, "{fill}", "Fills under way.");
        if (cache.WantsDisk)
            WatchDisk(cache, repair);
    }

    private void WatchDisk(ChunkCache cache, ChunkRepair repair)
    {
        // No tier yet, as the disk could not be opened: everything is 0 and both directions are off.
        Count("budget", "By", "Bytes that segments may take.", d => d.BudgetBytes, gauge: true);
        Count("used", "By", "Bytes of segment files.", d => d.UsedBytes, gauge: true);
        Count("directory", "By", "RAM of the directory.", d => d.DirectoryBytes, gauge: true);
        Count("segments", "{segment}", "Segment files.", d => d.Segments, gauge: true);
        Count("write_buffers.used", "{buffer}", "Chunks that wait to be written.", d => d.WriteBuffersInUse, gauge: true);
        Count("admitted", "By", "Chunk bytes written for the first time.", d => d.Counters.AdmittedBytes);
        Count("written", "By", "Bytes written to segments; over admitted: write amplification.", d => d.Counters.WrittenBytes);
        Count("reinserted", "By", "Bytes written again because they were in use or pinned.", d => d.Counters.ReinsertedBytes);
        Count("evicted", "By", "Bytes of files unlinked.", d => d.Counters.EvictedBytes);
        Count("scrubbed", "By", "Bytes read again and checked.", d => d.Counters.ScrubbedBytes);
        Count("damaged", "{record}", "Records found bad by reads and by the scrubber.", d => d.Counters.DamagedRecords);
        Count("dropped_segments", "{segment}", "Files that could not be understood and were unlinked.", d => d.Counters.DroppedSegments);
        Count("promoted", "{chunk}", "Chunks read from disk again and again and given to RAM.", d => d.Counters.Promoted);
        _meter.CreateObservableCounter("delivery.edge.disk_tier.repaired", () => repair.Repaired, "{chunk}", "Damaged chunks fetched again.");
        _meter.CreateObservableCounter("delivery.edge.disk_tier.not_repaired", () => repair.Left, "{record}", "Damaged records left to the next miss.");
        _meter.CreateObservableCounter("delivery.edge.disk_tier.reads", () => ByLabel<DiskReadOutcome>("outcome", cache, (d, o) => d.Counters.Reads(o)), "{read}", "Reads of chunks that the directory knows, by outcome.");
        _meter.CreateObservableCounter("delivery.edge.disk_tier.not_admitted", () => ByLabel<NotAdmittedReason>("reason", cache, (d, o) => d.Counters.NotAdmitted(o)), "{chunk}", "Chunks that did not get to disk, by reason.");
        _meter.CreateObservableGauge("delivery.edge.disk_tier.off", () => new Measurement<int>[]
        {
            new(cache.Disk is { State: not DiskTierState.Off } ? 0 : 1, new KeyValuePair<string, object?>("direction", "read")),
            new(cache.Disk is { WritesOn: true } ? 0 : 1, new KeyValuePair<string, object?>("direction", "write")),
        }, null, "1 while the disk is left alone because it fails, is full, read-only or slow.");

        void Count(string name, string unit, string description, Func<DiskTierStore, long> read, bool gauge = false)
        {
            long Value() => cache.Disk is { } disk ? read(disk) : 0;
            if (gauge)
                _meter.CreateObservableGauge($"delivery.edge.disk_tier.{name}", Value, unit, description);
            else
                _meter.CreateObservableCounter($"delivery.edge.disk_tier.{name}", Value, unit, description);
        }
    }

    private static IEnumerable<Measurement<long>> ByLabel<T>(string label, ChunkCache cache, Func<DiskTierStore, T, long> read)
        where T : struct, Enum =>
        cache.Disk is not { } disk ? [] : Enum.GetValues<T>().Select(value => new Measurement<long>(read(disk, value), new KeyValuePair<string, object?>(label, Label(value))));

    public void RequestEnded(int status, CacheState state) =>
        Interlocked.Increment(ref _requests[Math.Clamp(status / 100, 1, 5) * CacheStates.Length + (int)state]);

    public void ClientLeft() => Interlocked.Increment(ref _clientLeft);

    public void Sent(long bytes) => Interlocked.Add(ref _sentBytes, bytes);

    public void FirstByte(TimeSpan elapsed, CacheState state) => _firstByte.Record(elapsed.TotalSeconds, CacheTags[(int)state]);

    public void Refused(TokenVerdict verdict) => Interlocked.Increment(ref _refusals[(int)verdict]);

    public void Filled(int bytes) => Interlocked.Add(ref _filledBytes, bytes);

    public void Missed(long bytes) => Interlocked.Add(ref _missedBytes, bytes);

    public void FillEnded(FillOutcome outcome) => Interlocked.Increment(ref _fills[(int)outcome]);

    public void Collapsed() => Interlocked.Increment(ref _collapsed);

    public void Aborted() => Interlocked.Increment(ref _aborted);

    public void Dispose() => _meter.Dispose();

    /// <summary>An enum's name as a metric label: <c>PastEnd</c> is <c>past_end</c>.</summary>
    public static string Label<T>(T value)
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
