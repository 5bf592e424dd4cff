using System.CommandLine;
using System.Text.Json.Nodes;
using Delivery.Cli.CommandLine;
using Delivery.Cli.Stores;
using Delivery.Edge;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.TokenAuth;

namespace Delivery.Cli.Roles;

/// <summary><c>delivery edge</c>: one edge on its own, filling from a store that it shares with an origin.</summary>
internal static class EdgeCommand
{
    // An edge on its own stands behind a balancer, which probes every few seconds; one in `delivery up` does not.
    private const string UnreadyDelay = "00:00:05";

    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var config = new Option<string?>("--config") { Description = "JSON file; its section \"edge\" holds the options.", HelpName = "FILE" };
        var stores = new StoreFlags("The object store: a folder, or file:///…, s3://bucket/prefix?…, gs://bucket/prefix; not needed where no upstream is a store, or each has its address.");
        var host = new Option<string?>("--host") { Description = "Address to listen on; default: every address.", HelpName = "ADDRESS" };
        var port = new Option<int?>("--port") { Description = "Plaintext port; default 8080, 0 takes any free one.", HelpName = "N" };
        var adminPort = new Option<int?>("--admin-port") { Description = "Admin port on loopback; default 8081.", HelpName = "N" };
        var tlsPort = new Option<int?>("--tls-port") { Description = "TLS port; default 8443; open when there is a certificate.", HelpName = "N" };
        var peerPort = new Option<int?>("--peer-port") { Description = "Port for other edges; default 8082; open when there are peer keys.", HelpName = "N" };
        var peerKeys = new Option<string?>("--peer-keys") { Description = "Key ring that edges know each other by; not the listeners'.", HelpName = "FILE" };
        var certificate = new Option<string?>("--certificate") { Description = "PEM file: certificate and chain.", HelpName = "FILE" };
        var certificateKey = new Option<string?>("--certificate-key") { Description = "PEM file: its private key.", HelpName = "FILE" };
        var cache = new Option<string?>("--cache") { Description = "Folder of the disk tier, on a local SSD; default: RAM only.", HelpName = "DIR" };
        var cacheBytes = new Option<long?>("--cache-bytes") { Description = "Bytes that the disk tier may use; default 64 GiB.", HelpName = "N" };
        var verbose = new Option<bool>("--verbose") { Description = "Log what the server does, not only what goes wrong." };
        var command = new Command("edge", "Run one edge. Every option of docs/configuration.md can stand in --config or in DELIVERY_EDGE_… variables.")
        {
            config, stores.Store, stores.Secondary, host, port, adminPort, tlsPort, peerPort, peerKeys, certificate, certificateKey, cache, cacheBytes, verbose,
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var settings = RoleSettings.Read<EdgeOptions>("edge", parsed.GetValue(config), new Dictionary<string, JsonNode?>
            {
                [nameof(EdgeOptions.Host)] = parsed.GetValue(host),
                [nameof(EdgeOptions.Port)] = parsed.GetValue(port),
                [nameof(EdgeOptions.AdminPort)] = parsed.GetValue(adminPort),
                [nameof(EdgeOptions.TlsPort)] = parsed.GetValue(tlsPort),
                [nameof(EdgeOptions.PeerPort)] = parsed.GetValue(peerPort),
                [nameof(EdgeOptions.PeerKeyRingPath)] = parsed.GetValue(peerKeys),
                [nameof(EdgeOptions.CertificatePath)] = parsed.GetValue(certificate),
                [nameof(EdgeOptions.CertificateKeyPath)] = parsed.GetValue(certificateKey),
                [nameof(EdgeOptions.CacheFolder)] = parsed.GetValue(cache),
                [nameof(EdgeOptions.DiskTierBytes)] = parsed.GetValue(cacheBytes),
                [nameof(EdgeOptions.KeyRingPath)] = parsed.GetValue(options.Keys) ?? Environment.GetEnvironmentVariable("DELIVERY_KEYS"),
            }, new Dictionary<string, JsonNode?> { [nameof(EdgeOptions.UnreadyDelay)] = UnreadyDelay });
            settings = WithStores(settings, stores, parsed);
            if (settings.InlineScheduling)
                RunRequestsOnSocketThreads();
            using var log = ServerLog.Create(parsed.GetValue(verbose));
            try
            {
                await using var edge = await EdgeNode.StartAsync(settings, null, log, TimeProvider.System, cancellationToken);
                var line = new EdgeLine(Base(edge.Address), edge.TlsAddress is { } tls ? Base(tls) : null, Base(edge.AdminAddress), edge.PeerAddress is { } peers ? Base(peers) : null);
                if (context.Json)
                    context.WriteJson(line, CliJson.Default.EdgeLine);
                else
                    context.Output.WriteLine($"edge  {line.Edge}{(line.Tls is null ? "" : $"  {line.Tls}")}  (admin {line.EdgeAdmin}{(line.Peers is null ? "" : $", peers {line.Peers}")})");
                context.Output.Flush();
                await Stopped(cancellationToken);
                return ExitCode.Ok;
            }
            catch (Exception e) when (e is EdgeStartException or StoreException or KeyRingException)
            {
                throw new CliException(ExitCode.Environment, e.Message, e);
            }
        });
        return command;
    }

    /// <summary>
    /// The stores of the command line in the edge's upstreams: the first is the upstream of kind Store that has no address, the second comes last. Variables do not turn an edge that
    /// has no store upstream into one that has.
    /// </summary>
    internal static EdgeOptions WithStores(EdgeOptions settings, StoreFlags flags, ParseResult parsed)
    {
        var (store, secondary) = flags.Read(parsed);
        var upstreams = settings.Upstreams.ToList();
        var open = upstreams.FindIndex(upstream => upstream is { Kind: UpstreamKind.Store, Address: null });
        if (open >= 0 && store is null)
            throw new CliException(ExitCode.Usage, "--store is missing: an upstream is the object store");
        if (open < 0 && parsed.GetValue(flags.Store) is not null)
            throw new CliException(ExitCode.Usage, "--store is given, and no upstream is of kind Store without an address");
        var hasStore = upstreams.Any(upstream => upstream.Kind == UpstreamKind.Store);
        if (!hasStore && parsed.GetValue(flags.Secondary) is not null)
            throw new CliException(ExitCode.Usage, "--secondary-store is given, and no upstream is of kind Store");
        if (open >= 0)
            upstreams[open] = upstreams[open] with { Address = store!.ToString() };
        if (hasStore && secondary is not null)
            upstreams.Add(SecondaryOf(secondary));
        return settings with { Upstreams = upstreams };
    }

    internal static UpstreamOptions SecondaryOf(StoreUrl url) => new() { Kind = UpstreamKind.Store, Name = "secondary-store", Address = url.ToString() };

    /// <summary>Ends when SIGINT or SIGTERM asks for it: the end that an operator asks for is a good one.</summary>
    internal static Task Stopped(CancellationToken cancellationToken) =>
        Task.Delay(Timeout.Infinite, cancellationToken).ContinueWith(_ => { }, CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);

    /// <summary>
    /// Kestrel's inline scheduling ends at the runtime's own epoll thread, which hands every completed read to the thread pool: a context switch per
    /// request. This switch of the runtime, read when the process first uses a socket, takes that away too: a quarter to a third less server CPU for a 64 KiB
    /// hit (docs/adr/0004). It holds for the whole process, so only where an edge is alone in it: whatever blocks would stop its listeners.
    /// </summary>
    private static void RunRequestsOnSocketThreads()
    {
        const string name = "DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS";
        if (Environment.GetEnvironmentVariable(name) is null)
            Environment.SetEnvironmentVariable(name, "1");
    }

    private static string Base(Uri address) => address.GetLeftPart(UriPartial.Authority);
}

/// <summary>The first line of <c>delivery edge --json</c>.</summary>
internal sealed record EdgeLine(string Edge, string? Tls, string EdgeAdmin, string? Peers)
{
    public bool Ready { get; } = true;
}
