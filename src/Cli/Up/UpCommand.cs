using System.CommandLine;
using System.Net.Sockets;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Roles;
using Delivery.Cli.Stores;
using Delivery.Edge;
using Delivery.ObjectStore;
using Delivery.Origin;
using Delivery.TokenAuth;
using Delivery.Transcoder.Jobs.Rabbit;
using Delivery.Transcoder.Tools;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Delivery.Cli.Up;

/// <summary><c>delivery up</c>: all roles on one machine.</summary>
internal static class UpCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var demo = new Option<bool>("--demo") { Description = "Compose, ingest and play the demo album, and print what it took." };
        var once = new Option<bool>("--once") { Description = "With --demo: end after it; exit code 0 only if every byte was right." };
        var verbose = new Option<bool>("--verbose") { Description = "Log what the servers do, not only what goes wrong." };
        var edgePort = Port("--edge-port", 8080, "Port of the edge; its admin port is the next one.");
        var originPort = Port("--origin-port", 8090, "Port of the origin; its admin port is the next one.");
        var stores = new StoreFlags("Where masters, renditions and manifests are kept: a folder, or file:///…, s3://bucket/prefix?…, gs://bucket/prefix; default: DATA/store.");
        var broker = new BrokerFlags();
        var noTranscoder = new Option<bool>("--no-transcoder") { Description = "With a broker: run no worker here, `delivery transcoder` does the jobs." };
        var command = new Command("up", "Run origin, transcoder and edge in one process, on files below --data, or on a bucket.")
        {
            demo, once, edgePort, originPort, stores.Store, stores.Secondary, broker.Broker, noTranscoder, verbose,
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            if (parsed.GetValue(once) && !parsed.GetValue(demo))
                throw new CliException(ExitCode.Usage, "--once goes with --demo");
            var (store, secondary) = stores.Read(parsed);
            var farm = broker.Read(parsed, null);
            if (parsed.GetValue(noTranscoder) && farm is null)
                throw new CliException(ExitCode.Usage, "--no-transcoder goes with --broker: without one no other worker can have the jobs");
            using var log = ServerLog.Create(parsed.GetValue(verbose));
            using var data = DataFolder.Open(parsed.GetValue(options.Data)!);
            store ??= StoreUrl.Parse(data.Store);
            if (secondary is not null)
                StoreFlags.MustDiffer(store, secondary);
            await using var stack = await StartAsync(data, store, secondary, farm, !parsed.GetValue(noTranscoder), parsed.GetValue(edgePort), parsed.GetValue(originPort), log, cancellationToken);
            SayReady(stack.Endpoints, store, secondary, context);
            if (parsed.GetValue(demo))
            {
                var code = await new DemoRun(stack, data, context).RunAsync(cancellationToken);
                if (parsed.GetValue(once))
                    return code;
            }

            await EdgeCommand.Stopped(cancellationToken);
            return ExitCode.Ok;
        });
        return command;
    }

    private static async Task<LocalStack> StartAsync(
        DataFolder data, StoreUrl store, StoreUrl? secondary, BrokerOptions? broker, bool transcoder, int edgePort, int originPort, ILoggerFactory log, CancellationToken cancellationToken)
    {
        try
        {
            return await LocalStack.StartAsync(data, store, secondary, broker, transcoder, edgePort, originPort, log, cancellationToken);
        }
        catch (Exception e) when (e is EdgeStartException or OriginStartException or ToolsMissingException or StoreException or KeyRingException or IOException or SocketException or UnauthorizedAccessException or OptionsValidationException)
        {
            throw new CliException(ExitCode.Environment, e.Message, e);
        }
    }

    private static void SayReady(UpFile endpoints, StoreUrl store, StoreUrl? secondary, CommandContext context)
    {
        if (context.Json)
        {
            context.WriteJson(endpoints, CliJson.Default.UpFile);
            return;
        }

        context.Output.WriteLine($"edge    {endpoints.Edge}   (admin {endpoints.EdgeAdmin})");
        context.Output.WriteLine($"origin  {endpoints.Origin}");
        context.Output.WriteLine($"store   {store}{(secondary is null ? "" : $"   (secondary {secondary})")}");
        context.Output.WriteLine($"keys    {endpoints.KeyRing}");
        context.Output.WriteLine("Other commands find these by themselves, for example: delivery ingest DIR --release ID. Stop with Ctrl-C.");
        context.Output.Flush();
    }

    private static Option<int> Port(string name, int port, string description)
    {
        var option = new Option<int>(name) { Description = $"{description} 0 takes any free one.", HelpName = "N", DefaultValueFactory = _ => port };
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is < 0 or > 65534)
                result.AddError($"{name} takes 0 to 65534.");
        });
        return option;
    }
}
