using BenchmarkDotNet.Running;
using Delivery.Bench;

// Pairs that take turns, which BenchmarkDotNet does not do, have a word of their own; everything else is its.
if (args is ["hot-hit"])
    return HotHitBenchmark.Run();
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
