using System.Net.Sockets;
using System.Security.Authentication;
using Microsoft.Extensions.Logging;
using RabbitMQ.Client;
using RabbitMQ.Client.Exceptions;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>Keeps one connection to the broker: connects in the background, connects again when it is lost, and gives the current one to whoever needs it.</summary>
internal sealed partial class BrokerConnection : IAsyncDisposable
{
    private static readonly TimeSpan MinReconnectDelay = TimeSpan.FromMilliseconds(100);

    /// <summary>A farm finds its broker again this long after it is back; a hundred processes that look for it cost it 50 tries a second.</summary>
    private static readonly TimeSpan MaxReconnectDelay = TimeSpan.FromSeconds(2);

    /// <summary>A connection that lasted as long was a good one: the next try comes soon. One that breaks at once must not be made again and again.</summary>
    private static readonly TimeSpan GoodSession = TimeSpan.FromSeconds(5);

    private readonly Lock _lock = new();
    private readonly BrokerOptions _options;
    private readonly BrokerTopology _topology;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;
    private TaskCompletionSource<BrokerSession> _session = New();
    private volatile BrokerSession? _current;
    private volatile string? _fault;

    /// <param name="prepare">Subscribes what every session needs, before anybody gets it.</param>
    public BrokerConnection(
        BrokerOptions options, BrokerTopology topology, BrokerMetrics metrics, TimeProvider time, ILogger logger, Func<BrokerSession, CancellationToken, Task> prepare)
    {
        (_options, _topology, _time, _logger) = (options, topology, time, logger);
        _fault = $"The message broker {options.Shown} is not connected yet.";
        _running = Task.Run(() => RunAsync(metrics, prepare));
    }

    /// <inheritdoc cref="IJobQueue.Problem"/>
    public string? Problem => Current switch
    {
        null => _fault,
        { Blocked: { } why } => $"The message broker {_options.Shown} takes no messages: {why.TrimEnd('.')}; free memory or disk on it.",
        _ => null,
    };

    /// <summary>Null while there is no connection.</summary>
    public BrokerSession? Current => _current is { Ended.IsCancellationRequested: false } session ? session : null;

    /// <summary>The session, now or when there is one.</summary>
    /// <exception cref="ObjectDisposedException"/>
    public async Task<BrokerSession> GetAsync(CancellationToken cancellationToken)
    {
        while (true)
        {
            Task<BrokerSession> next;
            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_stop.IsCancellationRequested, typeof(RabbitJobQueue));
                // An ended session that its loop has not noticed yet is none.
                if (_session.Task.IsCompletedSuccessfully && _session.Task.Result.Ended.IsCancellationRequested)
                    _session = New();
                next = _session.Task;
            }

            var session = await next.WaitAsync(cancellationToken);
            if (!session.Ended.IsCancellationRequested)
                return session;
        }
    }

    public async ValueTask DisposeAsync()
    {
        lock (_lock)
        {
            if (_stop.IsCancellationRequested)
                return;
            _stop.Cancel();
        }

        await _running;
        _stop.Dispose();
    }

    private async Task RunAsync(BrokerMetrics metrics, Func<BrokerSession, CancellationToken, Task> prepare)
    {
        var delay = MinReconnectDelay;
        string? said = null;
        while (!_stop.IsCancellationRequested)
        {
            BrokerSession? session = null;
            try
            {
                session = await BrokerSession.OpenAsync(_options.CreateFactory(), _topology, _stop.Token);
                await prepare(session, _stop.Token);
                metrics.Connected();
                LogConnected(_options.Shown);
                said = null;
                _current = session;
                var connected = _time.GetTimestamp();
                lock (_lock)
                {
                    if (_session.Task.IsCompleted)
                        _session = New();
                    _session.SetResult(session);
                }

                await WhenEndedAsync(session);
                if (_time.GetElapsedTime(connected) >= GoodSession)
                    delay = MinReconnectDelay;
                _fault = $"The message broker {_options.Shown} was lost: {session.Reason.TrimEnd('.')}.";
                if (!_stop.IsCancellationRequested)
                    LogLost(_fault);
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
            }
            catch (Exception error)
            {
                _fault = Describe(error);
                // Once for each reason: a broker may be away for hours.
                if (said != _fault)
                    LogNoConnection(_fault);
                said = _fault;
            }
            finally
            {
                if (session is not null)
                    await session.DisposeAsync();
            }

            // Not all at once when a broker comes back.
            await Task.Delay(delay * (0.5 + Random.Shared.NextDouble()), _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            delay = delay * 2 < MaxReconnectDelay ? delay * 2 : MaxReconnectDelay;
        }

        lock (_lock)
        {
            if (_session.Task.IsCompleted)
                _session = New();
            _session.SetException(new ObjectDisposedException(nameof(RabbitJobQueue)));
            _ = _session.Task.Exception; // Whether anybody waits or not.
        }
    }

    private async Task WhenEndedAsync(BrokerSession session)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(session.Ended, _stop.Token);
        await Task.Delay(Timeout.Infinite, either.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>One sentence that says what to do. Of the client's exceptions only what cannot hold the password.</summary>
    private string Describe(Exception error)
    {
        if (error is QueueException)
            return error.Message;
        for (var cause = error; cause is not null; cause = cause is AggregateException { InnerExceptions: [var first, ..] } ? first : cause.InnerException)
        {
            var what = cause switch
            {
                BrokerUnreachableException => null, // Around the reason.
                PossibleAuthenticationFailureException or AuthenticationFailureException => "refuses the user name or the password; mend the URL, or the user on the broker",
                OperationInterruptedException { ShutdownReason: { ReplyCode: Constants.NotAllowed } why } => $"does not open its virtual host ({why.ReplyText.TrimEnd('.')}); make it, and give the user rights on it",
                OperationInterruptedException { ShutdownReason: { ReplyCode: Constants.AccessRefused } why } => $"refuses ({why.ReplyText.TrimEnd('.')}); give the user the rights to configure, write and read",
                OperationInterruptedException { ShutdownReason: { } why } => $"refuses ({why.ReplyText.TrimEnd('.')})",
                AuthenticationException => $"does not speak TLS as this process expects it ({cause.Message.TrimEnd('.')}); mend its certificate, or name its authority in AuthoritiesPath",
                SocketException socket => $"does not answer ({socket.SocketErrorCode}); start it, or mend the URL",
                OperationCanceledException or TimeoutException => "does not answer in time; look at it, and at the network",
                IOException or ProtocolException => "ends the connection before it is ready; is it a RabbitMQ, and the scheme (amqp, amqps) right?",
                _ => null,
            };
            if (what is not null)
                return $"The message broker {_options.Shown} {what}.";
        }

        return $"The message broker {_options.Shown} cannot be used: {error.GetType().Name}.";
    }

    private static TaskCompletionSource<BrokerSession> New() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    [LoggerMessage(3101, LogLevel.Information, "Connected to the message broker {Broker}")]
    private partial void LogConnected(string broker);

    [LoggerMessage(3102, LogLevel.Warning, "{Fault} It is connected again as soon as it can be")]
    private partial void LogLost(string fault);

    [LoggerMessage(3103, LogLevel.Warning, "{Fault} It is tried again until it works")]
    private partial void LogNoConnection(string fault);
}
