using System.Collections.Concurrent;
using System.Diagnostics;

namespace Delivery.Cli.Soak;

/// <summary>What <c>Cache-Status</c> (RFC 9211) said.</summary>
internal enum AnswerState
{
    /// <summary>Nothing: refusals, and edges without a cache.</summary>
    None,
    Hit,
    Partial,
    Miss,
}

/// <summary>What must never happen.</summary>
internal enum SoakFault
{
    /// <summary>A byte that no version of the object has at that place.</summary>
    WrongByte,

    /// <summary>A version from before an acknowledged purge.</summary>
    StaleVersion,

    /// <summary>A status or a header that the request does not allow.</summary>
    WrongAnswer,

    /// <summary>A 5xx that no kill explains.</summary>
    ServerError,

    /// <summary>A body or a connection that ended early, and no kill or replacement explains it.</summary>
    Cut,

    /// <summary>No answer, or no next byte, for <see cref="SoakExchange.Patience"/>.</summary>
    Hung,

    /// <summary>A purge was refused.</summary>
    PurgeRefused,

    /// <summary>The edge ended by itself, did not start, or did not stop.</summary>
    EdgeEnded,
}

/// <summary>Counts of the whole run. Thread-safe.</summary>
internal sealed class SoakTally : IDisposable
{
    // Enough to see a pattern; the run ends there, because what follows says nothing new.
    private const int MaxFaults = 10;

    private readonly ConcurrentQueue<(SoakFault Fault, string Detail)> _faults = new();
    private readonly CancellationTokenSource _broken = new();
    private int _faultCount;
    private long _requests;
    private long _bytes;
    private long _lostToKills;
    private long _cutByReplacement;
    private long _aborted;

    /// <summary>Time to the body's first byte (for HEAD, to the headers), by state.</summary>
    public IReadOnlyDictionary<AnswerState, LatencyHistogram> FirstByte { get; } = Enum.GetValues<AnswerState>().ToDictionary(state => state, _ => new LatencyHistogram());

    /// <summary>The longest wait within one body, by state.</summary>
    public IReadOnlyDictionary<AnswerState, LatencyHistogram> Stall { get; } = Enum.GetValues<AnswerState>().ToDictionary(state => state, _ => new LatencyHistogram());

    public long Requests => Volatile.Read(ref _requests);

    public long Bytes => Volatile.Read(ref _bytes);

    /// <summary>Requests that a kill ended.</summary>
    public long LostToKills => Volatile.Read(ref _lostToKills);

    /// <summary>Bodies that broke off because the store's object was replaced under them: never a mixture of two versions.</summary>
    public long CutByReplacement => Volatile.Read(ref _cutByReplacement);

    /// <summary>Bodies that the client left, as listeners do.</summary>
    public long Aborted => Volatile.Read(ref _aborted);

    public int FaultCount => Volatile.Read(ref _faultCount);

    public IReadOnlyList<(SoakFault Fault, string Detail)> Faults => [.. _faults];

    /// <summary>Cancelled when there is no use in going on.</summary>
    public CancellationToken Broken => _broken.Token;

    public long Count(SoakFault fault) => _faults.Count(f => f.Fault == fault);

    public void Started() => Interlocked.Increment(ref _requests);

    public void Received(long bytes) => Interlocked.Add(ref _bytes, bytes);

    public void LostToKill() => Interlocked.Increment(ref _lostToKills);

    public void CutAtReplacement() => Interlocked.Increment(ref _cutByReplacement);

    public void ClientLeft() => Interlocked.Increment(ref _aborted);

    public void Report(SoakFault fault, string detail)
    {
        if (Interlocked.Increment(ref _faultCount) <= MaxFaults)
            _faults.Enqueue((fault, detail));
        if (fault == SoakFault.EdgeEnded || FaultCount >= MaxFaults)
            _broken.Cancel();
    }

    public void Dispose() => _broken.Dispose();

    public static TimeSpan Since(long timestamp) => Stopwatch.GetElapsedTime(timestamp);
}
