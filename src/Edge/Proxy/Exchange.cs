using System.Diagnostics.CodeAnalysis;
using Delivery.Edge.Freshness;

namespace Delivery.Edge.Proxy;

/// <summary>What came of asking upstream.</summary>
internal enum ExchangeResult
{
    /// <summary>A response that is being stored: whoever matches may have it.</summary>
    Shared,

    /// <summary>304: the stored response holds, with new fields.</summary>
    Refreshed,

    /// <summary>A response that may not be stored: for the one who asked.</summary>
    Private,

    Failed,
}

/// <summary>What is known when upstream's header section has come.</summary>
/// <param name="Response">Of <see cref="ExchangeResult.Shared"/> and <see cref="ExchangeResult.Refreshed"/>.</param>
/// <param name="Body">Of <see cref="ExchangeResult.Shared"/>.</param>
/// <param name="Status">Upstream's; 0 when it failed.</param>
/// <param name="Why">Why it is private.</param>
internal sealed record ExchangeHead(
    ExchangeResult Result, int Status, StoredResponse? Response = null, SharedBody? Body = null, NoStoreReason Why = NoStoreReason.None, UpstreamFailure Failure = UpstreamFailure.None);

/// <summary>
/// One question to upstream that several requests may wait for, with its own task and deadlines. It ends early only when nobody is left who wants it, and only as long as it is not being
/// stored.
/// </summary>
[SuppressMessage("Reliability", "CA1001:Types that own disposable fields should be disposable", Justification = "Without a timer or a wait handle, the source holds nothing to dispose.")]
internal sealed class Exchange(string key, string collapseKey)
{
    private readonly Lock _gate = new();
    private readonly TaskCompletionSource<ExchangeHead> _head = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _unwanted = new();
    private IDisposable? _forLeader;
    private int _interest;
    private bool _leaderLeft;

    public string Key { get; } = key;

    /// <summary>Under which others may join; changes when the response's Vary is known. Under the table's lock.</summary>
    public string CollapseKey { get; set; } = collapseKey;

    /// <summary>An unsafe request has invalidated the URL meanwhile: nothing of this is stored. Under the table's lock.</summary>
    public bool Doomed { get; set; }

    public Task<ExchangeHead> Head => _head.Task;

    public CancellationToken Unwanted => _unwanted.Token;

    /// <summary>A request joins. Under the table's lock, as <see cref="Leave"/>: nobody joins what has been given up.</summary>
    public void Want() => _interest++;

    /// <summary>A request leaves, served or not; true when nobody is left who waits for upstream's answer.</summary>
    public bool Leave() => --_interest == 0 && !_head.Task.IsCompleted;

    /// <summary>The leader leaves: what was for it alone is nobody's.</summary>
    public void LeaderLeft()
    {
        IDisposable? nobodys;
        lock (_gate)
        {
            _leaderLeft = true;
            (nobodys, _forLeader) = (_forLeader, null);
        }

        nobodys?.Dispose();
    }

    public void GiveUp() => _unwanted.Cancel();

    /// <summary>The leader's own: its response when that is private, else its place in the body.</summary>
    public T? Take<T>()
        where T : class, IDisposable
    {
        lock (_gate)
        {
            if (_forLeader is not T own)
                return null;
            _forLeader = null;
            return own;
        }
    }

    public void Publish(ExchangeHead head, IDisposable? forLeader = null)
    {
        lock (_gate)
        {
            if (!_leaderLeft)
                (_forLeader, forLeader) = (forLeader, null);
            _head.TrySetResult(head);
        }

        forLeader?.Dispose();
    }
}
