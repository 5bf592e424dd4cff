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
        CreateReconcile(options, output, error),
        CreatePromote(options, output, error),
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

    private static Command CreateReconcile(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var primary = new Argument<string>("PRIMARY") { Description = "The store that is right." };
        var secondary = new Argument<string>("SECONDARY") { Description = "The store that is to have the same." };
        var repair = new Option<bool>("--repair") { Description = "Copy what is missing or different in SECONDARY." };
        var deleteExtra = new Option<bool>("--delete-extra") { Description = "With --repair: delete what SECONDARY alone has. It may be the last copy." };
        var prefix = new Option<string>("--prefix") { Description = "Only keys that start so.", HelpName = "P", DefaultValueFactory = _ => "" };
        var startAfter = new Option<string?>("--start-after") { Description = "Only keys after this one: where an earlier run stopped.", HelpName = "KEY" };
        var verify = Verify("Read and hash what has no digest in both stores, and what was copied.");
        var parallel = Parallel();
        var command = new Command("reconcile", "Compare two stores key by key, and make the second what the first is when told so. Exit code 1: they differ.")
        {
            primary, secondary, repair, deleteExtra, prefix, startAfter, parallel, verify,
        };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            if (parsed.GetValue(deleteExtra) && !parsed.GetValue(repair))
                throw new CliException(ExitCode.Usage, "--delete-extra goes with --repair");
            var (first, second) = (StoreFlags.Parse(parsed.GetRequiredValue(primary), "PRIMARY"), StoreFlags.Parse(parsed.GetRequiredValue(secondary), "SECONDARY"));
            StoreFlags.MustDiffer(first, second);
            using var from = StoreFlags.OpenExisting(first);
            using var to = StoreFlags.OpenExisting(second);
            return await new StoreReconcile(from, to, context)
            {
                Repair = parsed.GetValue(repair),
                DeleteExtra = parsed.GetValue(deleteExtra),
                Prefix = parsed.GetValue(prefix)!,
                StartAfter = parsed.GetValue(startAfter),
                Parallel = parsed.GetValue(parallel),
                Verify = parsed.GetValue(verify),
            }.RunAsync(cancellationToken);
        });
        return command;
    }

    private static Command CreatePromote(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var secondary = new Argument<string>("SECONDARY") { Description = "The store that becomes the primary." };
        var from = new Option<string>("--from") { Description = "The store that is the primary until then.", HelpName = "PRIMARY", Required = true };
        var force = new Option<bool>("--force") { Description = "Also when the primary does not answer: what it had accepted and not replicated is left behind until it comes back." };
        var command = new Command("promote", "Make the secondary store the primary (docs/runbooks/promote-the-secondary.md). Nodes notice by themselves; run again after a failure, it finishes.") { secondary, from, force };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var (next, present) = (StoreFlags.Parse(parsed.GetRequiredValue(secondary), "SECONDARY"), StoreFlags.Parse(parsed.GetRequiredValue(from), "--from"));
            StoreFlags.MustDiffer(next, present);
            using var to = StoreFlags.OpenExisting(next);
            return await StorePromote.RunAsync(to, next, present, parsed.GetValue(force), context, cancellationToken);
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
