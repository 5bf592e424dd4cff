using System.CommandLine;
using System.Text;
using Delivery.Cli.CommandLine;
using Delivery.Origin.ApiKeys;
using Delivery.TokenAuth;

namespace Delivery.Cli.Keys;

/// <summary>One key of a ring, without its material.</summary>
internal sealed record KeyRingLine(string Id, bool Signing);

/// <summary>A fresh API key: the secret for its user, the digest for the origin's configuration.</summary>
internal sealed record ApiKeyLine(string Secret, string Sha256, IReadOnlyList<string> Roles);

/// <summary><c>delivery keys</c>: make, list, rotate and remove signing keys, and make API keys.</summary>
internal static class KeysCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var id = new Argument<string>("ID") { Description = "Key id, as it stands in a URL's kid." };

        var list = new Command("list", "List the ring's key ids; never their material.");
        list.Run(options, output, error, (parsed, context, _) => List(new Connection(parsed, options), context));

        var create = new Command("new", "Make a new key ring file with one fresh key.");
        var file = new Argument<string>("FILE") { Description = "Where to write it; an existing file is never overwritten." };
        create.Arguments.Add(file);
        create.Run(options, output, error, (parsed, context, _) => New(parsed.GetRequiredValue(file), context));

        var add = new Command("add", "Add a fresh key. Existing URLs stay valid; new ones keep the current signing key until `keys use`.") { id };
        add.Run(options, output, error, (parsed, context, _) => Change(new Connection(parsed, options), context, ring => ring.WithNewKey(parsed.GetRequiredValue(id))));

        var use = new Command("use", "Sign with this key from now on. Do it when every edge has the ring with the new key.") { id };
        use.Run(options, output, error, (parsed, context, _) => Change(new Connection(parsed, options), context, ring => ring.WithSigningKey(parsed.GetRequiredValue(id))));

        var remove = new Command("remove", "Remove a key: every URL signed with it stops working. Do it when the longest expiry has passed, or after a leak.") { id };
        remove.Run(options, output, error, (parsed, context, _) => Change(new Connection(parsed, options), context, ring => ring.WithoutKey(parsed.GetRequiredValue(id))));

        var roles = new Option<string[]>("--role")
        {
            Description = "A role of the key: ingest, playback, operate or edge.",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
        };
        roles.AcceptOnlyFromAmong("ingest", "playback", "operate", "edge");
        var api = new Command("api", "Make an API key: the secret for its user, the SHA-256 for the origin's configuration.") { roles };
        api.Run(options, output, error, (parsed, context, _) => Api(parsed.GetRequiredValue(roles), context));

        return new Command("keys", "Signing keys (the key ring) and API keys.") { list, create, add, use, remove, api };
    }

    private static Task<int> List(Connection connection, CommandContext context)
    {
        Print(connection.ReadKeyRing(), context);
        return Task.FromResult(ExitCode.Ok);
    }

    private static Task<int> New(string path, CommandContext context)
    {
        if (File.Exists(path))
            throw new CliException(ExitCode.Usage, $"{path} exists; a key ring is never overwritten, as its URLs would all stop working");
        var ring = KeyRing.Generate();
        Store(path, ring.ToJson());
        Print(ring, context);
        return Task.FromResult(ExitCode.Ok);
    }

    /// <summary>Replaces the file as a whole and atomically: a server that reloads it sees the old ring or the new one.</summary>
    private static Task<int> Change(Connection connection, CommandContext context, Func<KeyRing, KeyRing> change)
    {
        KeyRing changed;
        try
        {
            changed = change(connection.ReadKeyRing());
        }
        catch (ArgumentException e)
        {
            // Without the parameter's name, which .NET appends.
            throw new CliException(ExitCode.Usage, e.ParamName is null ? e.Message : e.Message.Replace($" (Parameter '{e.ParamName}')", "", StringComparison.Ordinal), e);
        }

        Store(connection.KeyRingPath, changed.ToJson());
        Print(changed, context);
        return Task.FromResult(ExitCode.Ok);
    }

    private static Task<int> Api(string[] roles, CommandContext context)
    {
        var (secret, sha256) = ApiKey.Generate();
        if (context.Json)
        {
            context.WriteJson(new ApiKeyLine(secret, sha256, roles), CliJson.Default.ApiKeyLine);
        }
        else
        {
            context.Output.WriteLine($"secret  {secret}   (shown once; keep it with its user)");
            context.Output.WriteLine($"sha256  {sha256}   (for the origin's configuration, with roles {string.Join(", ", roles)})");
        }

        return Task.FromResult(ExitCode.Ok);
    }

    private static void Store(string path, string json)
    {
        try
        {
            PrivateFile.Replace(path, Encoding.UTF8.GetBytes(json));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Environment, $"the key ring {path} cannot be written: {e.Message}", e);
        }
    }

    private static void Print(KeyRing ring, CommandContext context)
    {
        foreach (var key in ring.KeyIds)
        {
            var signing = key == ring.SigningKeyId;
            if (context.Json)
                context.WriteJson(new KeyRingLine(key, signing), CliJson.Default.KeyRingLine);
            else
                context.Output.WriteLine($"{(key.Length == 0 ? "(no kid)" : key)}{(signing ? "  signing" : "")}");
        }
    }
}
