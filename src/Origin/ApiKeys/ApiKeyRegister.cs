using System.Buffers.Binary;
using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text;

namespace Delivery.Origin.ApiKeys;

/// <summary>The configured keys, found by the hash of a presented secret. Empty: nobody gets in.</summary>
internal sealed class ApiKeyRegister(IEnumerable<ApiKey> keys)
{
    private readonly FrozenDictionary<ulong, Entry[]> _byHash = keys
        .Select(k => new Entry(k, k.Roles.ToFrozenSet(), Convert.FromHexString(k.Sha256)))
        .GroupBy(e => BinaryPrimitives.ReadUInt64LittleEndian(e.Hash))
        .ToFrozenDictionary(g => g.Key, g => g.ToArray());

    /// <summary>The key of an <c>Authorization</c> header's value, or null when it is none of ours.</summary>
    public AuthorizedKey? Find(string? authorization)
    {
        // RFC 9110 §11.1: the scheme's name is case-insensitive.
        const string Scheme = "Bearer ";
        if (authorization is null || !authorization.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase))
            return null;
        var secret = authorization.AsSpan(Scheme.Length).Trim(' ');
        if (secret.Length > ApiKey.MaxSecretLength || !secret.StartsWith(ApiKey.SecretPrefix, StringComparison.Ordinal))
            return null;

        Span<byte> bytes = stackalloc byte[ApiKey.MaxSecretLength];
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        if (!Encoding.UTF8.TryGetBytes(secret, bytes, out var length))
            return null;
        SHA256.HashData(bytes[..length], hash);

        // The dictionary's timing shows at most the start of a hash, which does not lead to a secret; the decision itself takes constant time.
        if (!_byHash.TryGetValue(BinaryPrimitives.ReadUInt64LittleEndian(hash), out var candidates))
            return null;
        foreach (var candidate in candidates)
        {
            if (CryptographicOperations.FixedTimeEquals(candidate.Hash, hash))
                return new AuthorizedKey(candidate.Key.Name, candidate.Roles);
        }

        return null;
    }

    private sealed record Entry(ApiKey Key, FrozenSet<ApiRole> Roles, byte[] Hash);
}

/// <summary>Who calls.</summary>
internal sealed record AuthorizedKey(string Name, IReadOnlySet<ApiRole> Roles);
