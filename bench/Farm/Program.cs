// The farm on this machine, with a real broker.
//   Farm throughput [--masters DIR] [--rounds N] [--commands OUT]  the farm of two workers beside its own commands by xargs -P2 (bench/Farm/run)
//   Farm chaos [--tracks N] [--seed N] [--faults 0.05]             workers killed, broker restarted, store failing; every track must end right
//   Farm worker STORE WORK BROKER PREFIX FAULTS SEED               one worker; made by the two others
using Delivery.Bench.Farm;

return args switch
{
    ["worker", .. var rest] => await FarmWorker.RunAsync(rest),
    ["throughput", .. var rest] => await Throughput.RunAsync(Options(rest)),
    ["chaos", .. var rest] => await Chaos.RunAsync(Options(rest)),
    _ => Usage(),
};

static Dictionary<string, string> Options(string[] args) =>
    args.Chunk(2).ToDictionary(pair => pair[0].TrimStart('-'), pair => pair.Length == 2 ? pair[1] : "", StringComparer.Ordinal);

static int Usage()
{
    Console.Error.WriteLine("usage: Farm throughput|chaos …; see the head of bench/Farm/Program.cs");
    return 2;
}
