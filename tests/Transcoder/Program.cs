using Delivery.Transcoder.Tests;
using Xunit.Runner.InProc.SystemConsole;

[assembly: AssemblyFixture(typeof(SharedFarm))]

namespace Delivery.Transcoder.Tests;

/// <summary>The test runner, or, when a test starts it so, a worker in a process of its own.</summary>
internal static class Program
{
    public static async Task<int> Main(string[] args) =>
        args is [WorkerProcess.Verb, ..] ? await WorkerProcess.RunAsync(args) : await ConsoleRunner.Run(args);
}
