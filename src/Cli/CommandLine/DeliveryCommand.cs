using System.CommandLine;
using Delivery.Cli.Ingest;
using Delivery.Cli.Jobs;
using Delivery.Cli.Keys;
using Delivery.Cli.Releases;
using Delivery.Cli.Roles;
using Delivery.Cli.Soak;
using Delivery.Cli.Stores;
using Delivery.Cli.Transcode;
using Delivery.Cli.Up;
using Delivery.Cli.Urls;

namespace Delivery.Cli.CommandLine;

/// <summary>The whole command line: every command is made here once.</summary>
internal static class DeliveryCommand
{
    public static async Task<int> RunAsync(string[] args, TextWriter output, TextWriter error, CancellationToken cancellationToken)
    {
        var parsed = Create(output, error).Parse(args);
        var code = await parsed.InvokeAsync(
            new InvocationConfiguration
            {
                Output = output,
                Error = error,
                // An unexpected exception is a bug: let the runtime print it whole.
                EnableDefaultExceptionHandler = false,
                // Signals are StopSignals' own.
                ProcessTerminationTimeout = null,
            },
            cancellationToken);
        return parsed.Errors.Count > 0 ? ExitCode.Usage : code;
    }

    public static RootCommand Create(TextWriter output, TextWriter error)
    {
        var options = new GlobalOptions();
        var root = new RootCommand("Audio delivery: ingest masters, make renditions, sign URLs, serve byte ranges from the edge.")
        {
            UpCommand.Create(options, output, error),
            EdgeCommand.Create(options, output, error),
            OriginCommand.Create(options, output, error),
            TranscoderCommand.Create(options, output, error),
            IngestCommand.Create(options, output, error),
            ReleasesCommand.CreateList(options, output, error),
            ReleasesCommand.CreateShow(options, output, error),
            JobsCommand.Create(options, output, error),
            SignCommand.Create(options, output, error),
            VerifyCommand.Create(options, output, error),
            KeysCommand.Create(options, output, error),
            StoreCommand.Create(options, output, error),
            TranscodeCommand.Create(options, output, error),
            SoakCommand.Create(options, output, error),
        };
        root.Options.Add(options.Json);
        root.Options.Add(options.Data);
        root.Options.Add(options.Origin);
        root.Options.Add(options.ApiKey);
        root.Options.Add(options.Keys);
        return root;
    }
}
