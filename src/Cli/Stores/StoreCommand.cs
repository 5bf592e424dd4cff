using System.CommandLine;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Stores;

/// <summary><c>delivery store</c>: prove a bucket, copy a store, keep two of them alike.</summary>
internal static class StoreCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error) => new(
        "store", "Object stores: check one, copy one to another. A URL is a folder, file:///…, s3://bucket/prefix?… or gs://bucket/prefix.")
    {
        CreateCheck(options, output, error),
        CreateCopy(options, output, error),
    };

    private static Command CreateCheck(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var url = new Argument<string>("URL") { Description = "The store." };
        var readOnly = new Option<bool>("--read-only") { Description = "Check an edge's credentials: reading works, and listing and writing are refused." };
        var key = new Option<string?>("--key") { Description = "With --read-only: an object to read, for where listing is refused.", HelpName = "KEY" };
        var command = new Command("check", "Prove a store: rights, preconditions, ranges, digests, large uploads, latency. What it writes lies below delivery-check/ and is removed.") { url, readOnly, key };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            if (parsed.GetValue(key) is not null && !parsed.GetValue(readOnly))
                throw new CliException(ExitCode.Usage, "--key goes with --read-only");
            var name = StoreFlags.Parse(parsed.GetRequiredValue(url), "URL");
            using var store = StoreFlags.OpenExisting(name);
            return parsed.GetValue(readOnly)
                ? await new ReadOnlyCheck(store, new(name, context)).RunAsync(parsed.GetValue(key), cancellationToken)
                : await new StoreCheck(store, new(name, context)).RunAsync(cancellationToken);
        });
        return command;
    }

    private static Command CreateCopy(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var from = new Argument<string>("FROM") { Description = "The store to copy from; nothing there is changed." };
        var to = new Argument<string>("TO") { Description = "The store to copy to." };
        var prefix = new Option<string>("--prefix") { Description = "Only keys that start so, for example audio/.", HelpName = "P", DefaultValueFactory = _ => "" };
        var startAfter = new Option<string?>("--start-after") { Description = "Only keys after this one: where an earlier run stopped.", HelpName = "KEY" };
        var verify = Verify("Read back what was copied, and read whatever has no digest in both stores.");
        var parallel = Parallel();
        var command = new Command("copy", "Copy a store's objects to another: what is the same there is skipped, so run it again after any interruption.") { from, to, prefix, startAfter, parallel, verify };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var (source, target) = (StoreFlags.Parse(parsed.GetRequiredValue(from), "FROM"), StoreFlags.Parse(parsed.GetRequiredValue(to), "TO"));
            StoreFlags.MustDiffer(source, target);
            using var fromStore = StoreFlags.OpenExisting(source);
            using var toStore = StoreFlags.Open(target);
            return await new StoreCopy(fromStore, toStore, context)
            {
                Prefix = parsed.GetValue(prefix)!,
                StartAfter = parsed.GetValue(startAfter),
                Parallel = parsed.GetValue(parallel),
                Verify = parsed.GetValue(verify),
            }.RunAsync(cancellationToken);
        });
        return command;
    }

    private static Option<bool> Verify(string description) => new("--verify") { Description = description };

    private static Option<int> Parallel()
    {
        var option = new Option<int>("--parallel") { Description = "Objects at once, 1 to 256.", HelpName = "N", DefaultValueFactory = _ => StoreCopy.DefaultParallel };
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() is < 1 or > 256)
                result.AddError("--parallel takes 1 to 256.");
        });
        return option;
    }
}
