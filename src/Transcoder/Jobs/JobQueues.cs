using Delivery.Transcoder.Jobs.Rabbit;
using Microsoft.Extensions.Logging;

namespace Delivery.Transcoder.Jobs;

public static class JobQueues
{
    /// <summary>The broker's queue, or without a broker one that lives and ends with this process. Returns at once; a broker that is away shows as <see cref="IJobQueue.Problem"/>.</summary>
    /// <param name="broker">Null: in process.</param>
    /// <param name="readsReports">Whether this process calls <see cref="IJobQueue.ReadReportsAsync"/>: origins do, workers do not.</param>
    /// <exception cref="Microsoft.Extensions.Options.OptionsValidationException">Lists everything that is wrong with the options.</exception>
    public static IJobQueue Open(BrokerOptions? broker, ILoggerFactory log, TimeProvider time, bool readsReports = true) =>
        broker is null ? new InProcessJobQueue(time) : RabbitJobQueue.Open(broker, log, time, readsReports);
}
