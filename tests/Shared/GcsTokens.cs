using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;

namespace Delivery.Tests;

/// <summary>A service account with its key, and what it may do.</summary>
/// <param name="Email">Its name.</param>
/// <param name="Permissions">As IAM names them, without <c>storage.</c>: <c>objects.get</c>, <c>objects.list</c>, <c>objects.create</c>, <c>objects.delete</c>, <c>buckets.get</c>.</param>
public sealed record GcsAccount(string Email, IReadOnlySet<string> Permissions)
{
    /// <summary>Storage Object User: everything about objects, nothing about buckets.</summary>
    public static IReadOnlySet<string> ObjectUser => new HashSet<string> { "objects.get", "objects.list", "objects.create", "objects.delete" };

    public static IReadOnlySet<string> Nothing => new HashSet<string>();

    /// <summary>One for all accounts of a process: making one takes longer than most tests.</summary>
    internal static RSA Key { get; } = RSA.Create(2048);

    /// <summary>The key file, as the console gives it.</summary>
    /// <param name="key">Another key than the account's, for what must be refused.</param>
    public string KeyFile(Uri server, RSA? key = null) => new JsonObject
    {
        ["type"] = "service_account",
        ["project_id"] = "delivery-tests",
        ["private_key_id"] = "0123456789abcdef",
        ["private_key"] = (key ?? Key).ExportPkcs8PrivateKeyPem() + "\n",
        ["client_email"] = Email,
        ["client_id"] = "100000000000000000001",
        ["token_uri"] = new Uri(server, "/token").AbsoluteUri,
    }.ToJsonString();
}

/// <summary>
/// The token endpoint for service accounts (RFC 7523 as developers.google.com/identity/protocols/oauth2/service-account describes it), the metadata server's, and what the API asks of
/// a token.
/// </summary>
public sealed class GcsTokens(GcsServer server)
{
    /// <summary>"This value is always": not the address at which this one stands.</summary>
    private const string Audience = "https://oauth2.googleapis.com/token";

    /// <summary>What Google allows the clocks to differ; it does not say it, and refuses beyond some minutes.</summary>
    private static readonly TimeSpan Leeway = TimeSpan.FromMinutes(5);

    private readonly ConcurrentDictionary<string, GcsAccount> _accounts = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, (GcsAccount Account, DateTimeOffset Expires)> _tokens = new(StringComparer.Ordinal);
    private int _granted;

    /// <summary>As the answers say. Default an hour.</summary>
    public TimeSpan Lifetime { get; set; } = TimeSpan.FromHours(1);

    /// <summary>Tokens that were given so far.</summary>
    public int Granted => Volatile.Read(ref _granted);

    /// <summary>Whose tokens the metadata server gives; null: it has none.</summary>
    public GcsAccount? Machine { get; set; }

    public GcsAccount CreateAccount(string name, IReadOnlySet<string> permissions) =>
        _accounts[$"{name}@delivery-tests.iam.gserviceaccount.com"] = new($"{name}@delivery-tests.iam.gserviceaccount.com", permissions);

    /// <summary>Every token so far is good no more.</summary>
    public void Revoke() => _tokens.Clear();

    /// <summary>Whether the request may do this. What it may do is asked before anything else is told.</summary>
    internal void Demand(HttpContext http, string permission, string resource)
    {
        if (!server.AsksForTokens)
            return;
        var header = http.Request.Headers.Authorization.ToString();
        if (header.Length == 0)
            throw Unauthorized("required", $"Anonymous caller does not have storage.{permission} access to {resource}. Permission 'storage.{permission}' denied on resource (or it may not exist).");
        if (!header.StartsWith("Bearer ", StringComparison.Ordinal) || !_tokens.TryGetValue(header["Bearer ".Length..], out var token) || token.Expires <= server.Now)
            throw Unauthorized("authError", "Invalid Credentials");
        if (!token.Account.Permissions.Contains(permission))
            throw new GcsError(403, "forbidden", $"{token.Account.Email} does not have storage.{permission} access to {resource}. Permission 'storage.{permission}' denied on resource (or it may not exist).");
    }

    /// <summary>Whether it may, of what decides over a status only.</summary>
    internal bool Has(HttpContext http, string permission) => !server.AsksForTokens
        || (_tokens.TryGetValue(http.Request.Headers.Authorization.ToString()["Bearer ".Length..], out var token) && token.Account.Permissions.Contains(permission));

    internal async Task<GcsAnswer> GrantAsync(HttpContext http)
    {
        if (http.Request.ContentType?.StartsWith("application/x-www-form-urlencoded", StringComparison.Ordinal) != true)
            return Refused("invalid_request", "Content type must be application/x-www-form-urlencoded.");
        var form = await http.Request.ReadFormAsync(http.RequestAborted);
        if (form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer")
            return Refused("unsupported_grant_type", $"Invalid grant_type: {form["grant_type"]}");
        if (form["assertion"].ToString().Split('.') is not [var head, var claims, var signature])
            return Refused("invalid_grant", "Invalid JWT");
        var (header, claim) = (Decode(head), Decode(claims));
        if ((string?)header?["alg"] != "RS256" || claim is null)
            return Refused("invalid_grant", "Invalid JWT");
        if (!_accounts.TryGetValue((string?)claim["iss"] ?? "", out var account))
            return Refused("invalid_grant", "Invalid grant: account not found");
        if (!GcsAccount.Key.VerifyData(Encoding.ASCII.GetBytes($"{head}.{claims}"), Base64Url(signature), HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1))
            return Refused("invalid_grant", "Invalid JWT Signature.");
        if ((string?)claim["aud"] is not Audience)
            return Refused("invalid_grant", "Invalid JWT: Failed audience check.");
        var (issued, expires) = (DateTimeOffset.FromUnixTimeSeconds((long?)claim["iat"] ?? 0), DateTimeOffset.FromUnixTimeSeconds((long?)claim["exp"] ?? 0));
        if (expires - issued > TimeSpan.FromHours(1) || issued > server.Now + Leeway || expires < server.Now - Leeway || issued < server.Now - TimeSpan.FromHours(1) + Leeway)
            return Refused("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.");
        var scopes = ((string?)claim["scope"] ?? "").Split(' ');
        if (!scopes.Any(s => s.StartsWith("https://www.googleapis.com/auth/", StringComparison.Ordinal) && s.Split('/')[^1] is "devstorage.read_write" or "devstorage.full_control" or "cloud-platform"))
            return Refused("invalid_scope", "Invalid OAuth scope or ID token audience provided.");
        return Granting(account);
    }

    internal GcsAnswer OfMachine(HttpContext http) => http.Request.Headers["Metadata-Flavor"] != "Google"
        ? new GcsAnswer(403) { ContentType = "text/html", Text = "Missing required header: Metadata-Flavor" }
        : Machine is { } account ? Granting(account) : new GcsAnswer(404) { ContentType = "text/html", Text = "Not Found" };

    /// <summary>A token without the way to it, for a test that speaks HTTP itself.</summary>
    public string Grant(GcsAccount account)
    {
        var token = $"ya29.{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(24))}";
        _tokens[token] = (account, server.Now + Lifetime);
        Interlocked.Increment(ref _granted);
        return token;
    }

    private GcsAnswer Granting(GcsAccount account)
    {
        var answer = GcsAnswer.Json(200, new JsonObject { ["access_token"] = Grant(account), ["expires_in"] = (long)Lifetime.TotalSeconds, ["token_type"] = "Bearer" });
        answer.Headers.Add(("Metadata-Flavor", "Google"));
        return answer;
    }

    private static GcsAnswer Refused(string error, string description) => GcsAnswer.Json(400, new JsonObject { ["error"] = error, ["error_description"] = description });

    private static GcsError Unauthorized(string reason, string message) =>
        new(401, reason, message) { Headers = { ("WWW-Authenticate", "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"") } };

    private static JsonNode? Decode(string part)
    {
        try
        {
            return JsonNode.Parse(Base64Url(part));
        }
        catch (Exception e) when (e is FormatException or System.Text.Json.JsonException)
        {
            return null;
        }
    }

    private static byte[] Base64Url(string text) => System.Buffers.Text.Base64Url.DecodeFromChars(text);
}
