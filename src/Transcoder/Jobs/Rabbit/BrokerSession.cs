using RabbitMQ.Client;
using RabbitMQ.Client.Events;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>
/// One connection from its beginning to its end. Delivery tags and consumers live and die with it. A channel that the broker closes ends it as a
/// whole, so that there is one way to recover.
/// </summary>
internal sealed class BrokerSession : IAsyncDisposable
{
    private static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(2);

    private readonly IConnection _connection;
    private readonly CancellationTokenSource _ended = new();
    private volatile string? _blocked;
    private volatile string? _reason;

    private BrokerSession(IConnection connection)
    {
        _connection = connection;
        Ended = _ended.Token;
        connection.ConnectionShutdownAsync += (_, shutdown) => OnShutdownAsync(shutdown);
        connection.ConnectionBlockedAsync += (_, blocked) =>
        {
            _blocked = blocked.Reason;
            return Task.CompletedTask;
        };
        connection.ConnectionUnblockedAsync += (_, _) =>
        {
            _blocked = null;
            return Task.CompletedTask;
        };
    }

    /// <summary>Cancelled when the connection, or a channel of it, is gone.</summary>
    public CancellationToken Ended { get; }

    /// <summary>Why it ended, in the broker's or the network's words.</summary>
    public string Reason => _reason ?? "unknown";

    /// <summary>Why the broker takes no messages for now (memory, disk); null while it does.</summary>
    public string? Blocked => _blocked;

    /// <summary>Deliveries and their settlements, cancels, progress.</summary>
    public IChannel Jobs { get; private set; } = null!;

    /// <summary>Everything that must not be lost: each publish returns when the broker has it.</summary>
    public IChannel Confirmed { get; private set; } = null!;

    public static async Task<BrokerSession> OpenAsync(ConnectionFactory factory, BrokerTopology topology, CancellationToken cancellationToken)
    {
        var session = new BrokerSession(await factory.CreateConnectionAsync(cancellationToken));
        try
        {
            // On a channel of its own: one whose declaration the broker refuses is closed, and must be able to say why.
            await using (var channel = await session._connection.CreateChannelAsync(cancellationToken: cancellationToken))
                await topology.DeclareAsync(channel, cancellationToken);
            session.Jobs = await session.CreateChannelAsync(confirmed: false, cancellationToken);
            session.Confirmed = await session.CreateChannelAsync(confirmed: true, cancellationToken);
            return session;
        }
        catch
        {
            await session.DisposeAsync();
            throw;
        }
    }

    public async Task<IChannel> CreateChannelAsync(bool confirmed, CancellationToken cancellationToken)
    {
        var channel = await _connection.CreateChannelAsync(new CreateChannelOptions(confirmed, confirmed, outstandingPublisherConfirmationsRateLimiter: null), cancellationToken);
        channel.ChannelShutdownAsync += (_, shutdown) => OnShutdownAsync(shutdown);
        return channel;
    }

    public void End(string reason)
    {
        Interlocked.CompareExchange(ref _reason, reason, null);
        _ended.Cancel();
    }

    public async ValueTask DisposeAsync()
    {
        End("closed");
        try
        {
            await _connection.CloseAsync(Constants.ReplySuccess, "goodbye", CloseTimeout, abort: true);
        }
        catch (Exception)
        {
            // It is gone, which is what was wanted.
        }

        await _connection.DisposeAsync();
    }

    private Task OnShutdownAsync(ShutdownEventArgs shutdown)
    {
        // What this process closes itself is no fault.
        if (shutdown.Initiator != ShutdownInitiator.Application)
            End(shutdown.Exception is { } error && shutdown.ReplyCode == 0 ? error.Message : shutdown.ReplyText);
        return Task.CompletedTask;
    }
}
