// The load and the scripted origin of bench/peers: one JSON object on standard output per run. The commands in bench/peers call it; what the modes measure stands at their classes.
//   origin     --listen ADDRESS:PORT --bytes N [--delay-ms 0] [--bytes-per-second 0 (no limit)]
//   object     --path /audio/NAME --bytes N                     writes what the origin's object holds
//   stampede   --target A:P --keys FILE --bytes N --path P --warm-path P --clients N --whole N --server-pids N,N [--origin A:P]
//   miss       --target A:P --keys FILE --bytes N --paths 32HEX --count N --concurrency N [--origin A:P]
//   closed-loop --target A:P --keys FILE --bytes N --path P --seconds N [--connections 32]
//   open-loop  … --rate N [--connections 256]
//   players    --target A:P --keys FILE --bytes N --paths 32HEX --scenario NAME --count N [--origin A:P] [--admin A:P]
using System.Runtime;
using System.Text.Json;
using Delivery.Bench.Load;

try
{
    GCSettings.LatencyMode = GCLatencyMode.SustainedLowLatency;
    var arguments = new Arguments(args.AsSpan(Math.Min(1, args.Length)));
    var report = new Dictionary<string, object>();
    switch (args.FirstOrDefault())
    {
        case "origin":
            var listen = arguments.Address("listen");
            var origin = new Origin(arguments.Number("bytes"), TimeSpan.FromMilliseconds(arguments.Number("delay-ms", 0)), arguments.Number("bytes-per-second", 0));
            arguments.End();
            await origin.RunAsync(listen, CancellationToken.None);
            return 0;
        case "object":
            Write(arguments.Text("path"), arguments.Number("bytes"));
            return 0;
        case "stampede":
            Stampede.Run(arguments, report);
            break;
        case "miss":
            Misses.Run(arguments, report);
            break;
        case "closed-loop":
            HotRange.Run(arguments, report, open: false);
            break;
        case "open-loop":
            HotRange.Run(arguments, report, open: true);
            break;
        case "players":
            Players.Run(arguments, report);
            break;
        default:
            throw new ArgumentException("modes: origin, object, stampede, miss, closed-loop, open-loop, players");
    }

    Console.WriteLine(JsonSerializer.Serialize(report));
    return 0;
}
catch (ArgumentException e)
{
    Console.Error.WriteLine($"load: {e.Message}");
    return 2;
}

static void Write(string path, long bytes)
{
    using var output = Console.OpenStandardOutput();
    var start = Content.StartOf(path);
    for (var position = 0L; position < bytes; position += Content.MaxSpan)
        output.Write(Content.At(start, position, (int)Math.Min(Content.MaxSpan, bytes - position)).Span);
}
