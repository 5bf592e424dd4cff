using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Delivery.Origin.Webhooks;

/// <summary>One receiver, ready to be signed for.</summary>
internal sealed class WebhookTarget
{
    public const int MaxTargets = 16;
    private const int MaxSecrets = 4;
    private const int MaxSecretFileBytes = 4096;
    private const string SecretPrefix = "whsec_";

    private readonly IReadOnlyList<byte[]> _secrets;
    private readonly IReadOnlyList<string> _events;

    private WebhookTarget(Uri url, IReadOnlyList<byte[]> secrets, IReadOnlyList<string> events) => (Url, _secrets, _events) = (url, secrets, events);

    public Uri Url { get; }

    /// <summary>What logs may say of it.</summary>
    public string Name => Url.Authority;

    public bool Wants(string eventType) => _events.Contains(eventType);

    /// <summary>Value of <c>webhook-signature</c>: one signature per secret over <c>{id}.{timestamp}.{body}</c> (Standard Webhooks 1.0).</summary>
    public string Sign(string id, long timestamp, ReadOnlySpan<byte> body)
    {
        byte[] message = [.. Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{id}.{timestamp}.")), .. body];
        return string.Join(' ', _secrets.Select(secret => "v1," + Convert.ToBase64String(HMACSHA256.HashData(secret, message))));
    }

    /// <summary>Null when there are <paramref name="problems"/>, which never show a secret.</summary>
    public static WebhookTarget? Read(WebhookOptions options, string at, List<string> problems)
    {
        var before = problems.Count;
        if (!Uri.TryCreate(options.Url, UriKind.Absolute, out var url) || url.Scheme is not ("http" or "https") || url.UserInfo.Length > 0 || url.Fragment.Length > 0)
            problems.Add($"{at}.Url: must be an https URL without user and fragment");
        else if (url.Scheme == "http" && !url.IsLoopback && !options.AllowHttp)
            problems.Add($"{at}.Url: plain http goes to loopback addresses alone; use https, or set AllowHttp");
        var events = options.Events ?? WebhookEvents.All;
        if (events.Count == 0 || events.Except(WebhookEvents.All).Any())
            problems.Add($"{at}.Events: must be one or more of {string.Join(", ", WebhookEvents.All)}, or absent for all");
        var secrets = ReadSecrets(options.SecretPath, at, problems);
        return problems.Count == before ? new WebhookTarget(url!, secrets, [.. events]) : null;
    }

    private static List<byte[]> ReadSecrets(string path, string at, List<string> problems)
    {
        if (path.Length == 0)
        {
            problems.Add($"{at}.SecretPath: is required; it names the file with the signing secret");
            return [];
        }

        try
        {
            var lines = new FileInfo(path).Length <= MaxSecretFileBytes ? File.ReadAllLines(path).Where(line => line.Trim().Length > 0).ToList() : [];
            var secrets = lines.Select(line => Decode(line.Trim())).OfType<byte[]>().ToList();
            if (secrets.Count is 0 or > MaxSecrets || secrets.Count != lines.Count)
                problems.Add($"{at}.SecretPath: {path} must hold 1 to {MaxSecrets} lines, each whsec_ and the base64 of 24 to 64 bytes");
            return secrets;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            problems.Add($"{at}.SecretPath: {path} cannot be read: {e.Message}");
            return [];
        }
    }

    private static byte[]? Decode(string line)
    {
        var bytes = new byte[64];
        return line.StartsWith(SecretPrefix, StringComparison.Ordinal) && Convert.TryFromBase64String(line[SecretPrefix.Length..], bytes, out var count) && count >= 24 ? bytes[..count] : null;
    }
}
