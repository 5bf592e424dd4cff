using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Toolchains.InProcess.Emit;

namespace Delivery.Bench;

/// <summary>
/// Runs in this process: BenchmarkDotNet's own build of a child project finds its project by the assembly's name, and knows nothing of this
/// solution's artifacts folder.
/// </summary>
internal sealed class InProcessConfig : ManualConfig
{
    public InProcessConfig() => AddJob(Job.Default
        .WithToolchain(InProcessEmitToolchain.Instance)
        .WithWarmupCount(6)
        .WithIterationCount(15)
        .WithId("in process"));
}
