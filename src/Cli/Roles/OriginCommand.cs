using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Nodes;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Stores;
using Delivery.ObjectStore;
using Delivery.Origin;
using Delivery.TokenAuth;

namespace Delivery.Cli.Roles;

/// <summary><c>delivery origin</c>: one origin on its own, over a store and a broker that it shares with workers and other origins.</summary>
internal static class OriginCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var config = new Option<string?>("--config") { Description = "JSON file; its sections \"origin\" and \"broker\" hold the options.", HelpName = "FILE" };
        var stores = new StoreFlags("The object store of masters, renditions and manifests: a folder, or file:///…, s3://bucket/prefix?…, gs://bucket/prefix.");
        var broker = new BrokerFlags();
        var host = new Option<string?>("--host") { Description = "Address that the API listens on; default: loopback.", HelpName = "ADDRESS" };
        var port = new Option<int?>("--port") { Description = "Port of the API; default 8090, 0 takes any free one.", HelpName = "N" };
        var adminPort = new Option<int?>("--admin-port") { Description = "Admin port on loopback; default 8091.", HelpName = "N" };
        var edges = new Option<string[]>("--edge-base") { Description = "Base URL of an edge, the preferred one first; may be given several times.", HelpName = "URL" };
        var verbose = new Option<bool>("--verbose") { Description = "Log what the server does, not only what goes wrong." };
        var command = new Command("origin", "Run one origin. Every option of docs/configuration.md can stand in --config or in DELIVERY_ORIGIN_… variables; API keys stand there alone.")
        {
            config, stores.Store, stores.Secondary, broker.Broker, host, port, adminPort, edges, verbose,
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var file = parsed.GetValue(config);
            var settings = RoleSettings.Read<OriginOptions>("origin", file, new Dictionary<string, JsonNode?>
            {
                [nameof(OriginOptions.Host)] = parsed.GetValue(host),
                [nameof(OriginOptions.Port)] = parsed.GetValue(port),
                [nameof(OriginOptions.AdminPort)] = parsed.GetValue(adminPort),
                [nameof(OriginOptions.EdgeBases)] = parsed.GetValue(edges) is { Length: > 0 } bases ? JsonSerializer.SerializeToNode(bases, CliJson.Default.StringArray) : null,
                [nameof(OriginOptions.KeyRingPath)] = parsed.GetValue(options.Keys) ?? Environment.GetEnvironmentVariable("DELIVERY_KEYS"),
            });
            var farm = broker.ReadRequired(parsed, file, "an origin on its own hands its jobs to workers through one (`delivery up` runs origin and worker without)");
            var (store, secondary) = stores.ReadRequired(parsed, "masters, renditions and manifests are kept in it");
            if (settings.ApiKeys.Count == 0)
                context.Warn("no API keys are configured: every call is refused until there is one (delivery keys api)");
            using var log = ServerLog.Create(parsed.GetValue(verbose));
            await using var queue = BrokerFlags.Open(farm, readsReports: true, log);
            using var objects = StoreFlags.OpenNode(store, secondary, sweeps: true, log);
            try
            {
                await using var origin = await OriginNode.StartAsync(settings, objects, queue, log, TimeProvider.System, cancellationToken);
                var line = new OriginLine(origin.Address.GetLeftPart(UriPartial.Authority), origin.AdminAddress.GetLeftPart(UriPartial.Authority));
                if (context.Json)
                    context.WriteJson(line, CliJson.Default.OriginLine);
                else
                    context.Output.WriteLine($"origin  {line.Origin}  (admin {line.OriginAdmin})");
                context.Output.Flush();
                await EdgeCommand.Stopped(cancellationToken);
                return ExitCode.Ok;
            }
            catch (Exception e) when (e is OriginStartException or StoreException or KeyRingException)
            {
                throw new CliException(ExitCode.Environment, e.Message, e);
            }
        });
        return command;
    }
}

/// <summary>The first line of <c>delivery origin --json</c>.</summary>
internal sealed record OriginLine(string Origin, string OriginAdmin)
{
    public bool Ready { get; } = true;
}
