namespace Delivery.ObjectStore;

/// <summary>What kind of store a <see cref="StoreUrl"/> names.</summary>
public enum StoreScheme
{
    File,
    S3,
    Gs,
}

/// <summary>
/// The name of a store: <c>file:///folder</c> (or a folder's plain path), <c>s3://bucket/prefix?region=…&amp;endpoint=…</c>, <c>gs://bucket/prefix</c>. Credentials never stand in it.
/// Options and their bounds: docs/configuration.md.
/// </summary>
public sealed class StoreUrl
{
    /// <summary>A prefix takes its bytes from the keys' 1,024.</summary>
    public const int MaxPrefixUtf8Bytes = 256;

    /// <summary>What may stand in the query, by scheme.</summary>
    private static readonly Dictionary<StoreScheme, string[]> Known = new()
    {
        [StoreScheme.File] = [],
        [StoreScheme.S3] = ["region", "endpoint", "pathStyle", "checksums", "profile", "partSize", "conditionalMultipart"],
        [StoreScheme.Gs] = ["endpoint", "credentials", "chunkSize"],
    };

    private readonly string _text;
    private readonly IReadOnlyDictionary<string, string> _options;

    private StoreUrl(string text, StoreScheme scheme, string bucket, string prefix, string path, IReadOnlyDictionary<string, string> options) =>
        (_text, Scheme, Bucket, Prefix, Path, _options) = (text, scheme, bucket, prefix, path, options);

    public StoreScheme Scheme { get; }

    /// <summary>Empty for a folder.</summary>
    public string Bucket { get; }

    /// <summary>What stands before every key, with a <c>/</c> at its end; empty when there is none.</summary>
    public string Prefix { get; }

    /// <summary>The folder; empty for a bucket.</summary>
    public string Path { get; }

    /// <exception cref="FormatException">The text is not a store's URL; the message says why.</exception>
    public static StoreUrl Parse(string text) => Read(text, out var problem) ?? throw new FormatException($"'{Unsaid(text)}' does not name a store: {problem}.");

    /// <summary>An option of the query, or null when it is not given.</summary>
    public string? Option(string name) => _options.GetValueOrDefault(name);

    /// <summary>As it was given.</summary>
    public override string ToString() => _text;

    private static string Folder(string path) => System.IO.Path.TrimEndingDirectorySeparator(System.IO.Path.GetFullPath(path));

    /// <summary>A wrong URL as it may stand in a message: whoever writes credentials into one must not find them in a log.</summary>
    private static string Unsaid(string text)
    {
        var authority = text.IndexOf("://", StringComparison.Ordinal) is >= 0 and var at ? at + 3 : text.Length;
        var query = text.AsSpan(authority).IndexOfAny('?', '#') is >= 0 and var cut ? authority + cut : text.Length;
        var host = text.LastIndexOf('@', query - 1, query - authority) is >= 0 and var user ? user + 1 : authority;
        return text[..authority] + (host > authority ? "…@" : "") + text[host..query] + (query < text.Length ? "?…" : "");
    }

    private static StoreUrl? Read(string text, out string problem)
    {
        problem = "";
        if (text.Length == 0)
        {
            problem = "it is empty";
            return null;
        }

        if (!text.Contains("://", StringComparison.Ordinal))
            return new(text, StoreScheme.File, "", "", Folder(text), new Dictionary<string, string>());
        if (!Uri.TryCreate(text, UriKind.Absolute, out var uri))
        {
            problem = "it is not a URL";
            return null;
        }

        StoreScheme? scheme = uri.Scheme switch { "file" => StoreScheme.File, "s3" => StoreScheme.S3, "gs" => StoreScheme.Gs, _ => null };
        if (scheme is not { } kind)
        {
            problem = $"its scheme is '{uri.Scheme}', not file, s3 or gs";
            return null;
        }

        if (uri.UserInfo.Length > 0)
            problem = "credentials do not belong into it";
        else if (uri.Fragment.Length > 0)
            problem = "it has a fragment";
        var options = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var pair in uri.Query.TrimStart('?').Split('&', StringSplitOptions.RemoveEmptyEntries))
        {
            var (name, value) = pair.IndexOf('=', StringComparison.Ordinal) is >= 0 and var at ? (pair[..at], Uri.UnescapeDataString(pair[(at + 1)..])) : (pair, "");
            if (!Known[kind].Contains(name))
                problem = Known[kind].Length == 0 ? $"it has the option '{name}', and a folder has none" : $"it has no option '{name}', only {string.Join(", ", Known[kind])}";
            else if (value.Length == 0 || !options.TryAdd(name, value))
                problem = $"its option '{name}' stands twice or is empty";
        }

        if (problem.Length > 0)
            return null;
        // Not Uri's own path, which has lost what it takes for dot segments.
        var rest = text[(text.IndexOf("://", StringComparison.Ordinal) + 3)..].Split('?')[0];
        var path = Uri.UnescapeDataString(rest.IndexOf('/', StringComparison.Ordinal) is >= 0 and var slash ? rest[slash..] : "");
        if (kind == StoreScheme.File)
        {
            if (uri.Host.Length > 0)
            {
                problem = "a folder has no host: three slashes after 'file:'";
                return null;
            }

            return new(text, kind, "", "", Folder(path), options);
        }

        var prefix = path.Trim('/');
        // Nor its host, whose letters it has lowered.
        var bucket = rest.Split('/')[0];
        if (bucket.Length is < 3 or > 63 || !bucket.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c) || c is '-' or '.' or '_'))
            problem = $"'{bucket}' is not a bucket's name: 3 to 63 of a-z, 0-9, '-', '.' and '_'";
        else if (prefix.Length > 0 && !ObjectKey.TryParse(prefix, out _))
            problem = $"'{prefix}' cannot stand before keys";
        else if (System.Text.Encoding.UTF8.GetByteCount(prefix) >= MaxPrefixUtf8Bytes)
            problem = $"its prefix is longer than {MaxPrefixUtf8Bytes - 1} bytes";
        return problem.Length > 0 ? null : new(text, kind, bucket, prefix.Length == 0 ? "" : prefix + "/", "", options);
    }
}
