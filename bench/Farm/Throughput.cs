using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Delivery.ObjectStore;
using Delivery.Tests;
using Delivery.Transcoder;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Jobs.Rabbit;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Tools;
using Delivery.Transcoder.Verification;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Bench.Farm;

/// <summary>
/// A folder of masters through two workers with one slot each, and through the same commands (probe, encode, seek tables, verification decodes, flac -t,
/// digests) by <c>xargs -P2</c>, by turns. Both start from files on this disk and end with the renditions on it.
/// </summary>
internal static class Throughput
{
    private const int Workers = 2;

    public static async Task<int> RunAsync(Dictionary<string, string> options)
    {
        var masters = Directory.GetFiles(options["masters"]).Order(StringComparer.Ordinal).ToList();
        var rounds = int.Parse(options.GetValueOrDefault("rounds", "3"), CultureInfo.InvariantCulture);
        var folder = Directory.CreateTempSubdirectory("farm-bench-").FullName;
        await using var broker = await RabbitBroker.StartAsync();
        var (scripts, audio) = await WriteScriptsAsync(masters, folder);
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{masters.Count} masters, {audio.TotalSeconds:0} s of audio, two at a time"));
        Console.WriteLine("| round | wall s, farm / xargs | CPU s of the machine | realtime | wall ratio | CPU ratio | worker RSS MiB, alone / with tools |");
        Console.WriteLine("|---|---|---|---|---|---|---|");
        var ratios = new List<(double Wall, double Cpu)>();
        for (var round = 0; round < rounds; round++)
        {
            // Each first as often as the other.
            Result farm, xargs;
            if (round % 2 == 0)
            {
                farm = await FarmAsync(masters, folder, broker, round);
                xargs = await XargsAsync(scripts, masters, folder);
            }
            else
            {
                xargs = await XargsAsync(scripts, masters, folder);
                farm = await FarmAsync(masters, folder, broker, round);
            }

            ratios.Add((farm.Wall / xargs.Wall, farm.Cpu / xargs.Cpu));
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"| {round + 1} | {farm.Wall:0.0} / {xargs.Wall:0.0} | {farm.Cpu:0.0} / {xargs.Cpu:0.0} | {audio.TotalSeconds / farm.Wall:0.0} / {audio.TotalSeconds / xargs.Wall:0.0} | {farm.Wall / xargs.Wall:0.000} | {farm.Cpu / xargs.Cpu:0.000} | {farm.OwnBytes / 1048576.0:0} / {farm.TreeBytes / 1048576.0:0} |"));
        }

        Console.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"median ratio: wall {Median(ratios.Select(r => r.Wall)):0.000} ({ratios.Min(r => r.Wall):0.000} – {ratios.Max(r => r.Wall):0.000}), CPU {Median(ratios.Select(r => r.Cpu)):0.000} ({ratios.Min(r => r.Cpu):0.000} – {ratios.Max(r => r.Cpu):0.000})"));
        Directory.Delete(folder, recursive: true);
        return 0;
    }

    private sealed record Result(double Wall, double Cpu, long OwnBytes, long TreeBytes);

    private static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToList();
        return sorted[sorted.Count / 2];
    }

    private static async Task<Result> FarmAsync(List<string> masters, string folder, RabbitBroker broker, int round)
    {
        var (storeFolder, work) = (Path.Combine(folder, $"store-{round}"), Path.Combine(folder, "work"));
        using var store = FileStore.Open(storeFolder);
        var jobs = new List<TranscodeJob>();
        foreach (var (master, i) in masters.Select((m, i) => (m, i)))
        {
            await using var content = File.OpenRead(master);
            var sha256 = Convert.ToHexStringLower(await SHA256.HashDataAsync(content));
            content.Position = 0;
            var key = $"masters/t{i}/u1.wav";
            await store.WriteAsync(ObjectKey.Parse(key), content, new ObjectWrite { ContentType = "audio/wav" }, default);
            jobs.Add(new TranscodeJob { JobId = $"t{i}.u1", TrackId = $"t{i}", MasterKey = key, MasterSha256 = sha256, MasterBytes = content.Length, Ladder = Ladder.Default.Name });
        }

        var prefix = $"bench-{round}";
        await using var queue = RabbitJobQueue.Open(new BrokerOptions { Url = broker.Url, Prefix = prefix }, NullLoggerFactory.Instance, TimeProvider.System);
        var workers = new List<FarmWorker>();
        for (var i = 0; i < Workers; i++)
            workers.Add(await FarmWorker.StartAsync(storeFolder, work, broker.Url, prefix, 0, 0));
        await Task.Delay(1_000); // The workers' start is over; their compilation of the job's path is part of the run.

        var (own, tree, stop) = (0L, 0L, false);
        var sampling = Task.Run(async () =>
        {
            while (!Volatile.Read(ref stop))
            {
                foreach (var worker in workers)
                {
                    var now = ProcessTree.ResidentBytes(worker.Id);
                    (own, tree) = (Math.Max(own, now.Own), Math.Max(tree, now.Tree));
                }

                await Task.Delay(500);
            }
        });
        var before = ProcessTree.MachinesCpuSeconds();
        var started = Stopwatch.StartNew();
        foreach (var job in jobs)
            await queue.EnqueueAsync(job, default);
        var done = 0;
        await foreach (var delivery in queue.ReadReportsAsync(default))
        {
            await delivery.CompleteAsync(default);
            if (delivery.Report.Phase == JobPhase.Failed)
                throw new InvalidOperationException($"{delivery.Report.JobId} failed: {delivery.Report.Message}");
            if (delivery.Report.Phase == JobPhase.Done && ++done == jobs.Count)
                break;
        }

        var wall = started.Elapsed.TotalSeconds;
        var cpu = ProcessTree.MachinesCpuSeconds() - before;
        Volatile.Write(ref stop, true);
        await sampling;
        foreach (var worker in workers)
        {
            await worker.StopAsync();
            worker.Dispose();
        }

        Directory.Delete(storeFolder, recursive: true);
        return new Result(wall, cpu, own, tree);
    }

    private static async Task<Result> XargsAsync(string scripts, List<string> masters, string folder)
    {
        var runs = Path.Combine(folder, "runs");
        Directory.CreateDirectory(runs);
        var list = string.Join('\n', masters.Select((_, i) => Path.Combine(scripts, $"{i}.sh")));
        var before = ProcessTree.MachinesCpuSeconds();
        var started = Stopwatch.StartNew();
        using var xargs = Process.Start(new ProcessStartInfo("xargs", ["-P2", "-n1", "bash"]) { RedirectStandardInput = true, WorkingDirectory = runs })!;
        await xargs.StandardInput.WriteAsync(list);
        xargs.StandardInput.Close();
        await xargs.WaitForExitAsync();
        if (xargs.ExitCode != 0)
            throw new InvalidOperationException("A command of the baseline failed.");
        var wall = started.Elapsed.TotalSeconds;
        var cpu = ProcessTree.MachinesCpuSeconds() - before;
        Directory.Delete(runs, recursive: true);
        return new Result(wall, cpu, 0, 0);
    }

    /// <summary>One script for each master: the worker's own commands, without its cage.</summary>
    private static async Task<(string Folder, TimeSpan Audio)> WriteScriptsAsync(List<string> masters, string folder)
    {
        var scripts = Path.Combine(folder, "scripts");
        Directory.CreateDirectory(scripts);
        var tools = ToolSet.Find();
        var options = new TranscoderOptions();
        var prober = new Prober(tools, new ToolCage(tools, Isolation.None, TimeProvider.System), options);
        var audio = TimeSpan.Zero;
        foreach (var (master, i) in masters.Select((m, i) => (m, i)))
        {
            var probe = await prober.ProbeAsync(Path.GetDirectoryName(master)!, Path.GetFileName(master), default);
            audio += probe.Duration;
            var plan = EncodePlan.Create(Ladder.Default, probe, canEncodeHeAacV2: false);
            var files = plan.Renditions.Select(r => r.FileName).ToList();
            var flac = files.Where(f => f.EndsWith(".flac", StringComparison.Ordinal)).ToList();
            var heads = files.Select(f => $"head-{f}").ToList();
            var script = new StringBuilder("set -e\n")
                .Append(CultureInfo.InvariantCulture, $"mkdir {i}; cd {i}; cp {Quote(master)} master; sha256sum master >/dev/null\n")
                .Append(CultureInfo.InvariantCulture, $"{Command(tools.Ffprobe, ["-v", "error", "-select_streams", "a", "-show_entries", "format=format_name:stream=codec_name,sample_fmt,sample_rate,channels,duration_ts", "-of", "json", "file:master"])} >/dev/null\n")
                .Append(CultureInfo.InvariantCulture, $"nice -n 10 {Command(tools.Ffmpeg, FfmpegArguments.Build(plan, "master"))} >/dev/null 2>&1\n")
                .Append(CultureInfo.InvariantCulture, $"{Command(tools.Metaflac, ["--add-seekpoint=10s", .. flac])}\n")
                .Append(CultureInfo.InvariantCulture, $"nice -n 10 {Command(tools.Ffmpeg, DecodeArguments.Whole(plan.Renditions))} >/dev/null 2>&1\n")
                .Append(CultureInfo.InvariantCulture, $"{Command(tools.Flac, ["-t", "-s", .. flac])}\n");
            foreach (var file in files)
                script.Append(CultureInfo.InvariantCulture, $"head -c 16384 {file} >head-{file}\n");
            script.Append(CultureInfo.InvariantCulture, $"nice -n 10 {Command(tools.Ffmpeg, DecodeArguments.Prefixes(heads))} >/dev/null 2>&1 || true\n")
                .Append(CultureInfo.InvariantCulture, $"sha256sum {string.Join(' ', files)} >digests; sync {string.Join(' ', files)}\n");
            await File.WriteAllTextAsync(Path.Combine(scripts, $"{i}.sh"), script.ToString());
        }

        return (scripts, audio);
    }

    private static string Command(string tool, IEnumerable<string> arguments) => string.Join(' ', arguments.Prepend(tool).Select(Quote));

    private static string Quote(string text) => $"'{text.Replace("'", "'\\''", StringComparison.Ordinal)}'";
}
