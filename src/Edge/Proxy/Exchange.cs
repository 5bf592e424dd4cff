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
    private UpstreamReply? _private;
    private int _interest;
    private bool _leaderLeft;

    public string Key { get; } = key;

    /// <summary>Under which others may join; changes when the response's Vary is known. Under the table's lock.</summary>
    public string CollapseKey { get; set; } = collapseKey;

    /// <summary>An unsafe request has invalidated the URL meanwhile: nothing of this is stored. Under the table's lock.</summary>
    public bool Doomed { get; set; }

    public Task<ExchangeHead> Head => _head.Task;

    public CancellationToken Unwanted => _unwanted.Token;

    public void Want()
    {
        lock (_gate)
            _interest++;
    }

    /// <summary>A request leaves, served or not.</summary>
    public void Leave(bool isLeader)
    {
        UpstreamReply? nobodys = null;
        var isUnwanted = false;
        lock (_gate)
        {
            if (isLeader)
            {
                _leaderLeft = true;
                (nobodys, _private) = (_private, null);
            }

            isUnwanted = --_interest == 0 && !_head.Task.IsCompleted;
        }

        nobodys?.Dispose();
        if (isUnwanted)
            _unwanted.Cancel();
    }

    /// <summary>The leader's own response.</summary>
    public UpstreamReply? TakePrivate()
    {
        lock (_gate)
        {
            var reply = _private;
            _private = null;
            return reply;
        }
    }

    public void Publish(ExchangeHead head, UpstreamReply? forLeader = null)
    {
        lock (_gate)
        {
            if (!_leaderLeft)
                (_private, forLeader) = (forLeader, null);
            _head.TrySetResult(head);
        }

        forLeader?.Dispose();
    }
}
