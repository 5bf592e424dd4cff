using System.Globalization;
using BenchmarkDotNet.Running;
using Delivery.Bench;

// Pairs that take turns, which BenchmarkDotNet does not do, have a word of their own; everything else is its.
if (args is ["hot-hit"])
    return HotHitBenchmark.Run();
if (args is ["disk-hit"])
    return DiskHitBenchmark.Run();
if (args is ["restart-write", var into, var size])
    return CacheRestart.Write(into, double.Parse(size, CultureInfo.InvariantCulture));
if (args is ["restart-read", var from, var written, var cache])
    return await CacheRestart.Read(from, double.Parse(written, CultureInfo.InvariantCulture), cache);
if (args is ["disk-churn", var folder])
    return await CacheRestart.Churn(folder);
BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
