using System.CommandLine;
using System.Text.Json.Nodes;
using Delivery.Cli.CommandLine;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Jobs.Rabbit;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Delivery.Cli.Roles;

/// <summary><c>--broker</c>, <c>DELIVERY_BROKER</c>, or the section <c>broker</c> of the configuration and its <c>DELIVERY_BROKER_…</c> variables: one broker for every role of a farm.</summary>
internal sealed class BrokerFlags
{
    public const string Variable = "DELIVERY_BROKER";

    public Option<string?> Broker { get; } = new("--broker")
    {
        Description = $"The message broker, amqp[s]://user:password@host[:port][/virtualhost]; prefer the variable, as other users of a machine can read a command line [env: {Variable}].",
        HelpName = "URL",
    };

    /// <param name="parsed">The command line.</param>
    /// <param name="config">The <c>--config</c> file, or null.</param>
    /// <returns>Null: no broker is named anywhere.</returns>
    public BrokerOptions? Read(ParseResult parsed, string? config)
    {
        var url = parsed.GetValue(Broker) ?? Environment.GetEnvironmentVariable(Variable);
        var options = RoleSettings.Read<BrokerOptions>("broker", config, new Dictionary<string, JsonNode?> { [nameof(BrokerOptions.Url)] = string.IsNullOrEmpty(url) ? null : url });
        return options.Url.Length == 0 ? null : options;
    }

    /// <exception cref="CliException">No broker is named.</exception>
    public BrokerOptions ReadRequired(ParseResult parsed, string? config, string why) => Read(parsed, config)
        ?? throw new CliException(ExitCode.Usage, $"no broker is named: give --broker URL, set {Variable}, or name one in the configuration's section \"broker\"; {why}");

    /// <summary>Opens the queue; a broker that is away is waited for in the background.</summary>
    /// <param name="broker">Null: a queue within this process.</param>
    /// <param name="readsReports">Origins do, workers do not.</param>
    /// <param name="log">Where it logs.</param>
    /// <exception cref="CliException">The options are wrong; all of them are named.</exception>
    public static IJobQueue Open(BrokerOptions? broker, bool readsReports, ILoggerFactory log)
    {
        try
        {
            return JobQueues.Open(broker, log, TimeProvider.System, readsReports);
        }
        catch (OptionsValidationException e)
        {
            throw new CliException(ExitCode.Usage, string.Join(" ", e.Failures), e);
        }
    }
}
