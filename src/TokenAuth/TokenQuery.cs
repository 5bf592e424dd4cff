using System.Runtime.CompilerServices;

namespace Delivery.TokenAuth;

/// <summary>The optional claims, in the ordinal order of their names: the order of the signed message.</summary>
internal enum Claim
{
    Country,
    Address,
    KeyId,
    NotBefore,
    NextFile,
    Prefix,
    SessionId,
    TrackId,
}

/// <summary>What the parser made of a query.</summary>
internal enum TokenQueryState
{
    Complete,
    NoSignature,
    Malformed,
}

/// <summary>The reserved parameters of a query, found but not judged: names compared as on the wire, values left where they are.</summary>
internal readonly ref struct TokenQuery
{
    /// <summary>Names of <see cref="Claim"/>, by its numbers.</summary>
    public static readonly string[] ClaimNames = ["cc", "ip", "kid", "nbf", "nxt", "pfx", "sid", "tid"];

    public const string ExpiresName = "expires";
    public const string SignatureName = "sig";

    private readonly ReadOnlySpan<char> _query;
    private readonly ClaimRanges _claims;

    private TokenQuery(ReadOnlySpan<char> query, scoped in ClaimRanges claims, Range expires, Range signature)
    {
        _query = query;
        _claims = claims;
        Expires = query[expires];
        Signature = query[signature];
    }

    public ReadOnlySpan<char> Expires { get; }

    public ReadOnlySpan<char> Signature { get; }

    public bool Has(Claim claim) => _claims[(int)claim].Start.Value > 0;

    /// <summary>The value as on the wire; empty when absent.</summary>
    public ReadOnlySpan<char> this[Claim claim] => _query[_claims[(int)claim]];

    /// <summary>Finds the reserved parameters. Fields may be empty where the state is not <see cref="TokenQueryState.Complete"/>.</summary>
    public static TokenQueryState Parse(ReadOnlySpan<char> query, out TokenQuery token)
    {
        var claims = default(ClaimRanges);
        Range expires = default, signature = default;
        bool hasExpires = false, hasSignature = false, malformed = false;
        for (var start = 0; start <= query.Length;)
        {
            var length = query[start..].IndexOf('&');
            var parameter = length < 0 ? query[start..] : query.Slice(start, length);
            var equals = parameter.IndexOf('=');
            var name = equals < 0 ? parameter : parameter[..equals];
            // A value starts after at least one character of name and '=', so a claim that is absent is the one whose range starts at 0.
            var value = (start + equals + 1)..(start + parameter.Length);
            if (name.Length is 2 or 3)
            {
                if (name is SignatureName)
                {
                    malformed |= hasSignature || equals < 0;
                    hasSignature = true;
                    signature = value;
                }
                else if (ClaimOf(name) is var claim and >= 0)
                {
                    malformed |= equals < 0 || claims[claim].Start.Value > 0;
                    claims[claim] = value;
                }
            }
            else if (name is ExpiresName)
            {
                malformed |= hasExpires || equals < 0;
                hasExpires = true;
                expires = value;
            }

            start += parameter.Length + 1;
        }

        token = new TokenQuery(query, claims, expires, signature);
        return !hasSignature ? TokenQueryState.NoSignature
            : malformed || !hasExpires ? TokenQueryState.Malformed
            : TokenQueryState.Complete;
    }

    /// <summary>The number of the claim of this name, or -1.</summary>
    public static int ClaimOf(ReadOnlySpan<char> name) => name switch
    {
        "cc" => (int)Claim.Country,
        "ip" => (int)Claim.Address,
        "kid" => (int)Claim.KeyId,
        "nbf" => (int)Claim.NotBefore,
        "nxt" => (int)Claim.NextFile,
        "pfx" => (int)Claim.Prefix,
        "sid" => (int)Claim.SessionId,
        "tid" => (int)Claim.TrackId,
        _ => -1,
    };

    /// <summary>Unix seconds: 1 to 18 digits, which fit in 63 bits.</summary>
    public static bool TryParseTime(ReadOnlySpan<char> text, out long unixSeconds)
    {
        unixSeconds = 0;
        if (text.Length is 0 or > 18)
            return false;
        foreach (var c in text)
        {
            if (!char.IsAsciiDigit(c))
                return false;
            unixSeconds = unixSeconds * 10 + (c - '0');
        }

        return true;
    }

    [InlineArray(8)]
    private struct ClaimRanges
    {
        private Range _first;
    }
}
