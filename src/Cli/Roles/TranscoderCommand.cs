using System.CommandLine;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Stores;
using Delivery.ObjectStore;
using Delivery.Transcoder;
using Delivery.Transcoder.Tools;
using Microsoft.Extensions.Options;

namespace Delivery.Cli.Roles;

/// <summary><c>delivery transcoder</c>: one worker of a farm, on any machine that reaches its broker and its store.</summary>
internal static class TranscoderCommand
{
    // Below the 30 s that service managers commonly wait before they kill: enough for a song on a free core, and longer ones are given back.
    private const string DrainTime = "00:00:20";

    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var config = new Option<string?>("--config") { Description = "JSON file; its sections \"transcoder\" and \"broker\" hold the options.", HelpName = "FILE" };
        var stores = new StoreFlags("The object store that masters are read from and renditions written to: a folder, or file:///…, s3://bucket/prefix?…, gs://bucket/prefix.");
        var broker = new BrokerFlags();
        var slots = new Option<int?>("--slots") { Description = "Jobs at once; default: one per core.", HelpName = "N" };
        var work = new Option<string?>("--work") { Description = "Folder that jobs keep their files in, on a local disk; default: in the system's temp folder.", HelpName = "DIR" };
        var adminPort = new Option<int?>("--admin-port") { Description = "Admin port on loopback; default 8092, 0 takes any free one.", HelpName = "N" };
        var verbose = new Option<bool>("--verbose") { Description = "Log what the worker does, not only what goes wrong." };
        var command = new Command("transcoder", "Run one worker of the farm. Every option of docs/configuration.md can stand in --config or in DELIVERY_TRANSCODER_… variables.")
        {
            config, stores.Store, stores.Secondary, broker.Broker, slots, work, adminPort, verbose,
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var file = parsed.GetValue(config);
            var settings = RoleSettings.Read<TranscoderOptions>("transcoder", file, new Dictionary<string, JsonNode?>
            {
                [nameof(TranscoderOptions.Slots)] = parsed.GetValue(slots),
                [nameof(TranscoderOptions.WorkFolder)] = parsed.GetValue(work),
                [nameof(TranscoderOptions.AdminPort)] = parsed.GetValue(adminPort),
            }, new Dictionary<string, JsonNode?> { [nameof(TranscoderOptions.DrainTime)] = DrainTime });
            var farm = broker.ReadRequired(parsed, file, "a worker on its own gets its jobs from one (`delivery up` runs a worker without)");
            var (store, secondary) = stores.ReadRequired(parsed, "masters are read from it and renditions are written to it");
            using var log = ServerLog.Create(parsed.GetValue(verbose));
            await using var queue = BrokerFlags.Open(farm, readsReports: false, log);
            using var objects = StoreFlags.OpenNode(store, secondary, sweeps: false, log);
            try
            {
                await using var worker = await TranscoderNode.StartAsync(settings, objects, queue, log, TimeProvider.System, cancellationToken);
                var line = new TranscoderLine(worker.AdminAddress.GetLeftPart(UriPartial.Authority), worker.WorkerId, worker.EncoderId, settings.Slots);
                if (context.Json)
                    context.WriteJson(line, CliJson.Default.TranscoderLine);
                else
                    context.Output.WriteLine($"transcoder  {line.Worker}  {line.Slots} slots, {line.Encoder}  (admin {line.TranscoderAdmin})");
                context.Output.Flush();
                await EdgeCommand.Stopped(cancellationToken);
                return ExitCode.Ok;
            }
            catch (OptionsValidationException e)
            {
                throw new CliException(ExitCode.Usage, string.Join(" ", e.Failures), e);
            }
            catch (Exception e) when (e is ToolsMissingException or StoreException or IOException or SocketException or UnauthorizedAccessException)
            {
                throw new CliException(ExitCode.Environment, e.Message, e);
            }
        });
        return command;
    }
}

/// <summary>The first line of <c>delivery transcoder --json</c>.</summary>
internal sealed record TranscoderLine(string TranscoderAdmin, string Worker, string Encoder, int Slots)
{
    public bool Ready { get; } = true;
}
