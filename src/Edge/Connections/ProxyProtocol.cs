using System.Net;
using Delivery.Edge.Limits;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Connections;

/// <summary>
/// Takes the client's address from PROXY protocol version 2, from listed senders alone. A listed sender must begin with a header, else its connection is closed: were the header
/// optional, whoever gets through the balancer could write one. From anybody else these bytes are ordinary, that is a bad request.
/// </summary>
internal sealed partial class ProxyProtocol(NetworkList senders, TimeSpan timeout, LimitMeter meter, TimeProvider time, ILogger log)
{
    /// <summary>The connection's way: before everything else, as everything else goes by the client's address.</summary>
    public ConnectionDelegate Then(ConnectionDelegate next) => async connection =>
    {
        if (!senders.Contains((connection.RemoteEndPoint as IPEndPoint)?.Address))
        {
            await next(connection);
            return;
        }

        if (await TryReadAsync(connection))
        {
            await next(connection);
            return;
        }

        meter.Limited(Limit.ProxyHeader);
        LogRefused(log, connection.RemoteEndPoint);
    };

    private async Task<bool> TryReadAsync(ConnectionContext connection)
    {
        using var patience = new CancellationTokenSource(timeout, time);
        var input = connection.Transport.Input;
        try
        {
            while (true)
            {
                var result = await input.ReadAsync(patience.Token);
                var buffer = result.Buffer;
                switch (ProxyHeader.Parse(buffer, out var source, out var end))
                {
                    case ProxyHeaderParse.Complete:
                        input.AdvanceTo(end);
                        if (source is not null)
                            connection.RemoteEndPoint = source;
                        return true;
                    case ProxyHeaderParse.Incomplete when !result.IsCompleted:
                        input.AdvanceTo(buffer.Start, buffer.End);
                        break;
                    default:
                        input.AdvanceTo(buffer.End);
                        return false;
                }
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            return false;
        }
    }

    // Debug: a sender that probes by connecting alone would fill the log; the metric counts.
    [LoggerMessage(1060, LogLevel.Debug, "Closed a connection of {Sender}, which is to send a PROXY header and sent none that is valid in time")]
    private static partial void LogRefused(ILogger logger, EndPoint? sender);
}
