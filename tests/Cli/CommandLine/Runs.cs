using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Tests.CommandLine;

/// <summary>Runs the command line in process.</summary>
internal static class Runs
{
    public static async Task<(int ExitCode, string Output, string Errors)> RunAsync(params string[] arguments)
    {
        using var output = new StringWriter();
        using var error = new StringWriter();
        var code = await DeliveryCommand.RunAsync(arguments, output, error, CancellationToken.None);
        return (code, output.ToString(), error.ToString());
    }
}
