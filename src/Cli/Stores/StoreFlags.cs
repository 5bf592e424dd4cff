using System.CommandLine;
using Delivery.Cli.CommandLine;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Failover;
using Microsoft.Extensions.Logging;

namespace Delivery.Cli.Stores;

/// <summary><c>--store</c> and <c>--secondary-store</c>, or <c>DELIVERY_STORE</c> and <c>DELIVERY_SECONDARY_STORE</c>, and how a URL on the command line becomes a store.</summary>
internal sealed class StoreFlags(string storeDescription)
{
    public const string StoreVariable = "DELIVERY_STORE";

    public const string SecondaryVariable = "DELIVERY_SECONDARY_STORE";

    public Option<string?> Store { get; } = new("--store") { Description = $"{storeDescription} [env: {StoreVariable}]", HelpName = "URL" };

    public Option<string?> Secondary { get; } = new("--secondary-store")
    {
        Description = $"A second store that has, or is to have, the same: read from when the first one fails [env: {SecondaryVariable}].",
        HelpName = "URL",
    };

    /// <exception cref="CliException">A URL that names no store, or two that name one.</exception>
    public (StoreUrl? Store, StoreUrl? Secondary) Read(ParseResult parsed)
    {
        var store = Read(parsed, Store, StoreVariable);
        var secondary = Read(parsed, Secondary, SecondaryVariable);
        if (store is not null && secondary is not null)
            MustDiffer(store, secondary);
        return (store, secondary);
    }

    /// <exception cref="CliException">No store is named, or as above.</exception>
    public (StoreUrl Store, StoreUrl? Secondary) ReadRequired(ParseResult parsed, string why)
    {
        var (store, secondary) = Read(parsed);
        return (store ?? throw new CliException(ExitCode.Usage, $"no store is named: give --store URL or set {StoreVariable}; {why}"), secondary);
    }

    /// <summary>Opens one store or two for a node that writes.</summary>
    /// <param name="store">The store; the primary one when there are two.</param>
    /// <param name="secondary">Null: there is one store.</param>
    /// <param name="sweeps">Whether this node also replicates what other processes left: one that runs for long, as origins do.</param>
    /// <param name="log">Where the pair logs.</param>
    /// <exception cref="StoreException">A folder cannot be used, or there are no credentials of the kind that a URL asks for.</exception>
    public static IObjectStore OpenNode(StoreUrl store, StoreUrl? secondary, bool sweeps, ILoggerFactory log)
    {
        if (secondary is null)
            return ObjectStores.Open(store);
        // One further try of a write; a read goes to the other store.
        var options = new StoreClientOptions { Retries = 1 };
        var first = ObjectStores.Open(store, options);
        try
        {
            return FailoverStore.Open(first, ObjectStores.Open(secondary, options), new FailoverOptions { Sweeps = sweeps }, log, TimeProvider.System);
        }
        catch
        {
            first.Dispose();
            throw;
        }
    }

    /// <exception cref="CliException">It names no store.</exception>
    public static StoreUrl Parse(string text, string where)
    {
        try
        {
            return StoreUrl.Parse(text);
        }
        catch (FormatException e)
        {
            throw new CliException(ExitCode.Usage, $"{where}: {e.Message}", e);
        }
    }

    /// <summary>A store in a part of another would be copied into itself, and a failure of one is a failure of both.</summary>
    /// <exception cref="CliException">One is the other, or a part of it.</exception>
    public static void MustDiffer(StoreUrl one, StoreUrl other)
    {
        if (one.Scheme != other.Scheme || one.Bucket != other.Bucket || one.Option("endpoint") != other.Option("endpoint"))
            return;
        var (a, b) = one.Scheme == StoreScheme.File ? (one.Path.TrimEnd('/') + "/", other.Path.TrimEnd('/') + "/") : (one.Prefix, other.Prefix);
        if (a.StartsWith(b, StringComparison.Ordinal) || b.StartsWith(a, StringComparison.Ordinal))
            throw new CliException(ExitCode.Usage, $"the stores {one} and {other} are one, or one lies in the other");
    }

    /// <summary>Opens a store that must be there: a mistyped folder is not made.</summary>
    /// <exception cref="CliException">The folder is missing or cannot be used, or there are no credentials of the kind that the URL asks for.</exception>
    public static IObjectStore OpenExisting(StoreUrl url)
    {
        if (url.Scheme == StoreScheme.File && !Directory.Exists(url.Path))
            throw new CliException(ExitCode.Usage, $"there is no folder {url.Path}");
        return Open(url);
    }

    /// <exception cref="CliException">The folder cannot be used, or there are no credentials of the kind that the URL asks for.</exception>
    public static IObjectStore Open(StoreUrl url, StoreClientOptions? options = null)
    {
        try
        {
            return ObjectStores.Open(url, options);
        }
        catch (StoreException e)
        {
            throw new CliException(ExitCode.Environment, $"the store {url} cannot be used: {e.Message}", e);
        }
    }

    private static StoreUrl? Read(ParseResult parsed, Option<string?> option, string variable)
    {
        if (parsed.GetValue(option) is { } flag)
            return Parse(flag, option.Name);
        return Environment.GetEnvironmentVariable(variable) is { Length: > 0 } text ? Parse(text, variable) : null;
    }
}
