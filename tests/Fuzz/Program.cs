using System.Diagnostics;
using System.Security.Cryptography;
using Delivery.Fuzz;

// dotnet run --project tests/Fuzz -- TARGET [--seconds N] [--seed S] [--corpus DIR]
var target = FuzzTarget.All.FirstOrDefault(candidate => candidate.Name == args.FirstOrDefault());
var seconds = 60.0;
var seed = Random.Shared.Next();
string? corpus = null;
var understood = target is not null && args.Length % 2 == 1;
for (var i = 1; i + 1 < args.Length && understood; i += 2)
{
    understood = args[i] switch
    {
        "--seconds" => double.TryParse(args[i + 1], out seconds),
        "--seed" => int.TryParse(args[i + 1], out seed),
        "--corpus" => (corpus = args[i + 1]).Length > 0,
        _ => false,
    };
}

if (!understood || target is null)
{
    Console.Error.WriteLine($"usage: Delivery.Fuzz ({string.Join(" | ", FuzzTarget.All.Select(known => known.Name))}) [--seconds N] [--seed S] [--corpus DIR]");
    return 2;
}

corpus ??= Path.Combine(AppContext.BaseDirectory, "Corpus", target.Name);
Console.WriteLine($"{target.Name}: seed {seed}, {seconds} s, corpus {corpus}");
var watch = Stopwatch.StartNew();
var report = new Fuzzer(target, Fuzzer.Load(corpus), seed).Run(_ => watch.Elapsed.TotalSeconds < seconds);
Console.WriteLine($"{report.Iterations} inputs: {string.Join(", ", report.Outcomes.Select(outcome => $"{outcome.Key} {outcome.Value}"))}");
if (report.Finding is not { } finding)
    return 0;
Directory.CreateDirectory(corpus);
var file = Path.Combine(corpus, $"crash-{Convert.ToHexStringLower(SHA256.HashData(finding.Input))[..16]}");
File.WriteAllBytes(file, finding.Input);
Console.Error.WriteLine($"broken by {file}:\n{finding.Failure}");
return 1;
