using System.Globalization;
using RabbitMQ.Client;
using RabbitMQ.Client.Exceptions;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>Sends what must not be lost. A message whose confirmation was lost with the connection is sent again, with the same id.</summary>
internal sealed class BrokerPublisher(BrokerConnection connection, BrokerOptions options, BrokerMetrics metrics, TimeProvider time)
{
    /// <summary>Returns when the broker has written it; waits for the broker up to <see cref="BrokerOptions.OperationTimeout"/>.</summary>
    /// <param name="mandatory">False: fine when no queue takes it.</param>
    /// <exception cref="QueueException">The broker stayed away, or its queue is full.</exception>
    public async Task PublishAsync(
        MessageKind kind, string exchange, string routingKey, BasicProperties properties, ReadOnlyMemory<byte> body, CancellationToken cancellationToken, bool mandatory = true)
    {
        using var timeout = new CancellationTokenSource(options.OperationTimeout, time);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, timeout.Token);
        while (true)
        {
            BrokerSession? session = null;
            try
            {
                session = await connection.GetAsync(limit.Token);
                using var alive = CancellationTokenSource.CreateLinkedTokenSource(limit.Token, session.Ended);
                await session.Confirmed.BasicPublishAsync(exchange, routingKey, mandatory, properties, body, alive.Token);
                metrics.Published(kind, PublishOutcome.Confirmed);
                return;
            }
            catch (PublishException error) when (!error.IsReturn)
            {
                metrics.Published(kind, PublishOutcome.Full);
                throw new QueueException(
                    string.Create(CultureInfo.InvariantCulture, $"The message broker {options.Shown} refused a message for {exchange}:{routingKey}: its queue holds MaxQueued ({options.MaxQueued:N0}) messages; add workers, or try again later."),
                    error)
                { IsFull = true };
            }
            catch (PublishException)
            {
                // Somebody deleted the queue: the next session makes it again.
                session!.End($"no queue takes {exchange}:{routingKey}");
            }
            catch (Exception error) when (limit.IsCancellationRequested)
            {
                metrics.Published(kind, PublishOutcome.Failed);
                cancellationToken.ThrowIfCancellationRequested();
                throw new QueueException(
                    string.Create(CultureInfo.InvariantCulture, $"{connection.Problem ?? $"The message broker {options.Shown} does not confirm."} This was waited for {options.OperationTimeout.TotalSeconds:0.#} s; try again when the broker is back."),
                    error);
            }
            catch (Exception error) when (error is not ObjectDisposedException || session is not null)
            {
                // What happened to the message is unknown, so it is sent again: twice is allowed, never is not.
                session?.End(error.Message);
            }
        }
    }
}
