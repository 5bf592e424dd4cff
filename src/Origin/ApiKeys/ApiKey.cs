using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace Delivery.Origin.ApiKeys;

/// <summary>
/// A key as configuration holds it: a name for people and logs, what it may do, and the SHA-256 of the secret. The secret itself is 256
/// random bits, so a plain hash is enough: there is nothing to guess and nothing a slow hash would protect.
/// </summary>
public sealed record ApiKey
{
    /// <summary>Every secret starts so, for people and for secret scanners.</summary>
    public const string SecretPrefix = "dk_";

    /// <summary>Longer secrets are refused unhashed.</summary>
    public const int MaxSecretLength = 200;

    /// <summary>Who holds the key; appears in logs. 1 to 64 characters.</summary>
    public required string Name { get; init; }

    /// <summary>At least one.</summary>
    public required IReadOnlyList<ApiRole> Roles { get; init; }

    /// <summary>SHA-256 of the whole secret, prefix included, as 64 hex digits.</summary>
    public required string Sha256 { get; init; }

    /// <summary>Makes a fresh secret for the holder and its hash for the configuration. The secret cannot be had again.</summary>
    public static (string Secret, string Sha256) Generate()
    {
        var secret = SecretPrefix + Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(32));
        return (secret, Hash(secret));
    }

    /// <summary>The hash of a secret as configuration holds it: lower-case hex.</summary>
    public static string Hash(string secret) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(secret)));
}
