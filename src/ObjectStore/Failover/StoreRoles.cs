using Microsoft.Extensions.Logging;

namespace Delivery.ObjectStore.Failover;

/// <summary>Who is who, as this node knows it.</summary>
/// <param name="Epoch">The highest one that either store tells.</param>
/// <param name="Primary">The store that takes the writes; null in the middle of a switch, or when both claim it.</param>
/// <param name="Latest">The store that reads go to first: the primary, or in the middle of a switch the one that was it.</param>
/// <param name="Ended">Cancelled when another view takes this one's place.</param>
internal sealed record RoleView(int Epoch, int? Primary, int Latest, CancellationToken Ended);

/// <summary>
/// Reads the roles that both stores tell of themselves, at the start, every <see cref="Poll"/> and soon after a failure, so that a promotion needs no restart and no configuration.
/// </summary>
/// <remarks>
/// The highest epoch counts. A store that cannot be read keeps what is known of it. Who writes must have read the primary's own word within <see cref="Lease"/>: so a promotion that has
/// fenced the old primary and waited <see cref="FenceWait"/> knows that nobody's write is acknowledged there any more.
/// </remarks>
internal sealed partial class StoreRoles : IAsyncDisposable
{
    public static readonly TimeSpan Poll = TimeSpan.FromSeconds(5);

    /// <summary>Two polls: one may be lost.</summary>
    public static readonly TimeSpan Lease = 2 * Poll;

    /// <summary>After a fence: every lease has ended, and a poll's time for clocks and for what is on its way.</summary>
    public static readonly TimeSpan FenceWait = Lease + Poll;

    /// <summary>Looks after failures come no more often.</summary>
    public static readonly TimeSpan MinPause = TimeSpan.FromMilliseconds(500);

    private readonly IReadOnlyList<IObjectStore> _stores;
    private readonly Action<int> _answered;
    private readonly TimeSpan _timeout;
    private readonly TimeProvider _time;
    private readonly ILogger _log;
    private readonly CancellationTokenSource _stop = new();
    private readonly SemaphoreSlim _suspected = new(0, 1);
    private readonly Lock _gate = new();
    private readonly Known[] _known = [new(null, null, null), new(null, null, null)];
    private readonly Task _polling;
    private CancellationTokenSource _viewEnd = new();
    private Task? _looking;
    private volatile RoleView _view;
    private volatile bool _isRead;

    /// <param name="stores">In the order of the configuration.</param>
    /// <param name="answered">Told the index of each store that has answered a look.</param>
    /// <param name="timeout">Of one look.</param>
    /// <param name="time">The clock.</param>
    /// <param name="log">Receives 4011 to 4014.</param>
    public StoreRoles(IReadOnlyList<IObjectStore> stores, Action<int> answered, TimeSpan timeout, TimeProvider time, ILogger log)
    {
        (_stores, _answered, _timeout, _time, _log) = (stores, answered, timeout, time, log);
        _view = Resolve(_viewEnd.Token);
        _polling = Task.Run(PollAsync);
    }

    /// <summary>As known now, without waiting for the first look.</summary>
    public RoleView View => _view;

    /// <summary>As known; waits for the first look only.</summary>
    public ValueTask<RoleView> GetAsync(CancellationToken cancellationToken)
    {
        return _isRead ? new(_view) : LookedAsync();

        async ValueTask<RoleView> LookedAsync()
        {
            await RefreshAsync(cancellationToken);
            return _view;
        }
    }

    /// <summary>Looks now, or joins the look that is under way.</summary>
    public async Task RefreshAsync(CancellationToken cancellationToken)
    {
        Task looking;
        lock (_gate)
            looking = _looking is { IsCompleted: false } running ? running : _looking = Task.Run(LookAsync, CancellationToken.None);
        await looking.WaitAsync(cancellationToken);
    }

    /// <summary>A store failed: its role may have moved.</summary>
    public void Suspect()
    {
        try
        {
            _suspected.Release();
        }
        catch (SemaphoreFullException)
        {
        }
    }

    /// <summary>Whether a store's own word was read within the <see cref="Lease"/>.</summary>
    public bool IsConfirmed(int store)
    {
        lock (_gate)
            return _known[store].ReadAt is { } at && _time.GetElapsedTime(at) <= Lease;
    }

    /// <summary>Whether a view's primary still is it, by its own word of the last <see cref="Lease"/>; asks it when that has lapsed.</summary>
    public async ValueTask<bool> IsStillPrimaryAsync(RoleView view, CancellationToken cancellationToken)
    {
        if (view.Primary is not { } primary)
            return false;
        if (!IsConfirmed(primary))
            await RefreshAsync(cancellationToken);
        return IsConfirmed(primary) && View == view;
    }

    /// <summary>What a store last told, null for nothing, and the version of that; false when it has never been read.</summary>
    public bool TryGetRecord(int store, out StoreRole? role, out string? version)
    {
        lock (_gate)
        {
            (role, version) = (_known[store].Role, _known[store].Version);
            return _known[store].ReadAt is not null;
        }
    }

    /// <summary>Whether the store that is not the primary may be overwritten: it was read lately, and whatever it had accepted while it was the primary has been looked at.</summary>
    public bool MayOverwrite(RoleView view)
    {
        if (view.Primary is not { } primary || !IsConfirmed(1 - primary) || !TryGetRecord(1 - primary, out var role, out _))
            return false;
        return role is null ? view.Epoch == 1 : role.Role == StorePart.Secondary && (view.Epoch == 1 || (role.Epoch == view.Epoch && role.Settled));
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _polling;
        if (_looking is { } looking)
            await looking;
    }

    /// <summary>Which of two stores is the primary, by what they say of themselves (null: nothing).</summary>
    internal static (int Epoch, int? Primary, int Latest) Resolve(StoreRole? first, StoreRole? second)
    {
        var (epoch1, epoch2) = (first?.Epoch ?? 1, second?.Epoch ?? 1);
        var epoch = Math.Max(epoch1, epoch2);
        var firstClaims = epoch1 == epoch && (first?.Role ?? StorePart.Primary) == StorePart.Primary;
        var secondClaims = epoch2 == epoch && (second?.Role ?? StorePart.Secondary) == StorePart.Primary;
        if (firstClaims != secondClaims)
            return (epoch, firstClaims ? 0 : 1, firstClaims ? 0 : 1);
        // In the middle of a switch the one that was fenced for it has all there is; an unfenced one at the same epoch never was the primary.
        return (epoch, null, second is { Role: StorePart.Secondary } && epoch2 == epoch && epoch1 < epoch ? 1 : 0);
    }

    private async Task PollAsync()
    {
        try
        {
            while (true)
            {
                await RefreshAsync(_stop.Token);
                using var wake = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                var suspected = _suspected.WaitAsync(wake.Token);
                var first = await Task.WhenAny(Task.Delay(Poll, _time, wake.Token), suspected);
                await wake.CancelAsync();
                _stop.Token.ThrowIfCancellationRequested();
                if (first == suspected)
                    await Task.Delay(MinPause, _time, _stop.Token);
            }
        }
        catch (OperationCanceledException)
        {
        }
    }

    private async Task LookAsync()
    {
        var at = _time.GetTimestamp();
        var found = await Task.WhenAll(LookAsync(0), LookAsync(1));
        CancellationTokenSource? ended = null;
        RoleView before, after;
        lock (_gate)
        {
            // What both tell is taken over at once: a lease must never be renewed beside a view that it contradicts.
            for (var i = 0; i < found.Length; i++)
            {
                if (found[i] is { } read)
                    _known[i] = new(read.Role, read.Version, at);
            }

            before = _view;
            after = Resolve(before.Ended);
            if (after != before)
            {
                ended = _viewEnd;
                _viewEnd = new();
                _view = after = after with { Ended = _viewEnd.Token };
            }

            _isRead = true;
        }

        if (ended is null)
            return;
        if (after.Primary is { } primary)
            LogPrimary(_log, Name(primary), after.Epoch);
        else if (_known.All(k => (k.Role?.Epoch ?? 1) == after.Epoch && k.Role?.Role != StorePart.Secondary))
            LogTwo(_log, after.Epoch);
        else
            LogSwitching(_log, after.Epoch);
        // Not disposed: who holds the old view may still link to it.
        await ended.CancelAsync();
    }

    // Null: what was known of it stands.
    private async Task<(StoreRole? Role, string? Version)?> LookAsync(int index)
    {
        try
        {
            using var timeout = new CancellationTokenSource(_timeout, _time);
            using var stop = _stop.Token.UnsafeRegister(static source => ((CancellationTokenSource)source!).Cancel(), timeout);
            var read = await _stores[index].ReadJsonAsync(StoreKeys.Role, FailoverJson.Default.StoreRole, timeout.Token);
            _answered(index);
            return read;
        }
        catch (Exception e) when (e is not ArgumentException and not NullReferenceException)
        {
            if (e is StoreException { Error: StoreError.Corrupt or StoreError.Denied or StoreError.Misconfigured })
                LogUnreadable(_log, Name(index), e.Message);
            return null;
        }
    }

    private static string Name(int index) => index == 0 ? "first" : "second";

    private RoleView Resolve(CancellationToken ended)
    {
        var (epoch, primary, latest) = Resolve(_known[0].Role, _known[1].Role);
        return new(epoch, primary, latest, ended);
    }

    [LoggerMessage(4011, LogLevel.Warning, "The {Store} store is the primary now, at epoch {Epoch}")]
    private static partial void LogPrimary(ILogger logger, string store, int epoch);

    [LoggerMessage(4012, LogLevel.Warning, "The primary is being switched (epoch {Epoch}): no writes until then")]
    private static partial void LogSwitching(ILogger logger, int epoch);

    [LoggerMessage(4013, LogLevel.Error, "Both stores claim to be the primary at epoch {Epoch}: no writes until one of them is promoted again")]
    private static partial void LogTwo(ILogger logger, int epoch);

    [LoggerMessage(4014, LogLevel.Error, "The role of the {Store} store cannot be read: {Message}")]
    private static partial void LogUnreadable(ILogger logger, string store, string message);

    private sealed record Known(StoreRole? Role, string? Version, long? ReadAt);
}
