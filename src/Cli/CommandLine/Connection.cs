using System.CommandLine;
using Delivery.TokenAuth;

namespace Delivery.Cli.CommandLine;

/// <summary>Finds servers and keys: flags, then <c>DELIVERY_*</c> variables, then <c>DATA/up.json</c>.</summary>
internal sealed class Connection(ParseResult parsed, GlobalOptions options)
{
    private readonly Lazy<UpFile?> _up = new(() => UpFile.Read(parsed.GetValue(options.Data)!));

    public Uri Origin
    {
        get
        {
            var text = Find(options.Origin, "DELIVERY_ORIGIN", up => up.Origin)
                ?? throw Missing("the origin's address", "--origin URL", "DELIVERY_ORIGIN");
            return Uri.TryCreate(text, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"
                ? uri
                : throw new CliException(ExitCode.Usage, $"'{text}' is not an http or https URL (the origin's address)");
        }
    }

    public string ApiKey => Find(options.ApiKey, "DELIVERY_API_KEY", up => up.ApiKey)
        ?? throw Missing("an API key", "--api-key KEY", "DELIVERY_API_KEY");

    public string KeyRingPath => Find(options.Keys, "DELIVERY_KEYS", up => up.KeyRing)
        ?? throw Missing("the key ring", "--keys FILE", "DELIVERY_KEYS");

    /// <summary>The local edge, if <c>delivery up</c> runs one; to print URLs that can be opened.</summary>
    public string? Edge => _up.Value?.Edge;

    public KeyRing ReadKeyRing()
    {
        var path = KeyRingPath;
        try
        {
            return KeyRing.Parse(File.ReadAllBytes(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Environment, $"the key ring {path} cannot be read: {e.Message}", e);
        }
        catch (KeyRingException e)
        {
            throw new CliException(ExitCode.Usage, $"the key ring {path} is not valid: {e.Message}", e);
        }
    }

    private string? Find(Option<string?> option, string variable, Func<UpFile, string> fromUp) =>
        parsed.GetValue(option) ?? System.Environment.GetEnvironmentVariable(variable) ?? (_up.Value is { } up ? fromUp(up) : null);

    private CliException Missing(string what, string flag, string variable) => new(
        ExitCode.Usage,
        $"{what} is not known: give {flag}, set {variable}, or start `delivery up` (looked for {UpFile.PathIn(parsed.GetValue(options.Data)!)})");
}
