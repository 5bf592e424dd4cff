using System.Buffers;
using System.Buffers.Text;
using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;

namespace Delivery.TokenAuth;

/// <summary>
/// The native dialect: <c>{path}?expires={unix seconds}&amp;sig={base64url}</c> and optional claims, <c>sig</c> being HMAC-SHA256 over
/// <c>{path}:{expires}[:{claims}]</c>. Format and rationale: docs/formats/signed-url.md.
/// </summary>
public sealed class NativeScheme : ITokenScheme
{
    /// <summary>Longest <c>sid</c> and <c>tid</c> that are signed, in characters.</summary>
    public const int MaxIdLength = 128;

    /// <summary>Longest <c>nxt</c> and <c>pfx</c> that are signed, in characters: an object key's bound.</summary>
    public const int MaxPathClaimLength = 1024;

    internal const int MacBytes = 32;

    // 32 bytes are 42 whole characters of base64url and 4 bits of a 43rd, whose other 2 bits are zero.
    private const int SignatureLength = 43;
    private const string CanonicalLastCharacters = "AEIMQUYcgkosw048";

    private NativeScheme()
    {
    }

    public static NativeScheme Instance { get; } = new();

    /// <inheritdoc/>
    /// <remarks>
    /// The checks, in this order: 1 <c>sig</c> is there; 2 the form of <c>sig</c> and <c>expires</c>, no reserved name twice or without a
    /// value, nothing longer than <see cref="RequestTarget.MaxLength"/>; 3 the key is known; 4 the MAC holds; 5 the claims' values are of their
    /// form; 6 the path; 7 <c>nbf</c>; 8 <c>expires</c>; 9 the address.
    /// </remarks>
    [SkipLocalsInit]
    public TokenVerdict Verify(KeyRing ring, ReadOnlySpan<char> path, ReadOnlySpan<char> query, IPAddress? client, long nowUnixSeconds, out TokenClaims claims)
    {
        claims = default;
        if (ring is null)
            return TokenVerdict.UnknownKey;

        // 1
        var state = TokenQuery.Parse(query, out var token);
        if (state == TokenQueryState.NoSignature)
            return TokenVerdict.Missing;

        // 2. The path's first '/' keeps a path's message apart from a prefix's, which starts with ':'.
        Span<byte> signature = stackalloc byte[MacBytes];
        Span<byte> message = stackalloc byte[SignedMessage.MaxBytes];
        if (state == TokenQueryState.Malformed
            || path is not ['/', ..]
            || path.Length + query.Length >= RequestTarget.MaxLength
            || !TryDecodeSignature(token.Signature, signature)
            || !TokenQuery.TryParseTime(token.Expires, out var expires)
            || !SignedMessage.TryWrite(path, token, message, out var messageLength))
            return TokenVerdict.Malformed;

        // 3
        var key = ring.Find(token[Claim.KeyId]);
        if (key is null)
            return TokenVerdict.UnknownKey;

        // 4. Nothing of the claims is believed, or even read, before this.
        Span<byte> mac = stackalloc byte[MacBytes];
        key.ComputeMac(message[..messageLength], mac);
        if (!CryptographicOperations.FixedTimeEquals(mac, signature))
            return TokenVerdict.BadSignature;

        // 5
        var notBefore = 0L;
        var network = default(AddressNetwork);
        var formed = (!token.Has(Claim.NotBefore) || TokenQuery.TryParseTime(token[Claim.NotBefore], out notBefore))
            & (!token.Has(Claim.Address) || AddressNetwork.TryParse(token[Claim.Address], out network))
            & (!token.Has(Claim.Prefix) || token[Claim.Prefix] is ['/', ..]);
        claims = new TokenClaims
        {
            IsAuthentic = true,
            Expires = expires,
            NotBefore = notBefore,
            KeyId = token[Claim.KeyId],
            SessionId = token[Claim.SessionId],
            TrackId = token[Claim.TrackId],
            Country = token[Claim.Country],
            NextFile = token[Claim.NextFile],
            Prefix = token[Claim.Prefix],
        };
        if (!formed)
            return TokenVerdict.Malformed;

        // 6. A path that is no canonical one (/a/../b) is inside no prefix, even where the caller skipped RequestTarget.
        if (token.Has(Claim.Prefix) && !(path.StartsWith(token[Claim.Prefix]) && RequestTarget.IsCanonicalPath(path)))
            return TokenVerdict.WrongScope;

        // 7
        if (nowUnixSeconds < notBefore)
            return TokenVerdict.NotYetValid;

        // 8
        if (nowUnixSeconds > expires)
            return TokenVerdict.Expired;

        // 9
        return token.Has(Claim.Address) && !network.Contains(client) ? TokenVerdict.WrongScope : TokenVerdict.Valid;
    }

    /// <inheritdoc/>
    public string Sign(KeyRing ring, string path, UrlGrant grant)
    {
        ArgumentNullException.ThrowIfNull(ring);
        ArgumentNullException.ThrowIfNull(path);
        ArgumentNullException.ThrowIfNull(grant);
        if (!RequestTarget.IsCanonicalPath(path))
            throw new ArgumentException($"'{path}' is not a canonical path: it starts with '/', and has no '//', dot segment, backslash, ';', '#', '?', space, control or escape of one of these.", nameof(path));
        var key = ring.Require(grant.KeyId);

        var query = new StringBuilder(256).Append(TokenQuery.ExpiresName).Append('=').Append(UnixSeconds(grant.Expires, nameof(UrlGrant.Expires)));
        for (var claim = Claim.Country; claim <= Claim.TrackId; claim++)
        {
            if (ValueOf(claim, path, grant, key) is { } value)
                query.Append('&').Append(TokenQuery.ClaimNames[(int)claim]).Append('=').Append(value);
        }

        var text = query.ToString();
        if (path.Length + text.Length + SignatureLength + 6 > RequestTarget.MaxLength)
            throw new ArgumentException($"The signed URL would be longer than {RequestTarget.MaxLength} characters.", nameof(path));
        return $"{path}?{text}&{TokenQuery.SignatureName}={Mac(key, path, text)}";
    }

    private static string Mac(SigningKey key, string path, string unsignedQuery)
    {
        // State is NoSignature: the one parameter that is still to come.
        TokenQuery.Parse(unsignedQuery, out var token);
        var message = new byte[SignedMessage.MaxBytes];
        if (!SignedMessage.TryWrite(path, token, message, out var length))
            throw new ArgumentException($"The message to sign would be longer than {SignedMessage.MaxBytes} bytes.", nameof(path));
        if (SignedMessage.HasSecondReading(message.AsSpan(0, length), token))
            throw new ArgumentException("The signature would also open another path: path or claims hold ':', a time and ':' or an end, as the message itself does.", nameof(path));
        Span<byte> mac = stackalloc byte[MacBytes];
        key.ComputeMac(message.AsSpan(0, length), mac);
        return Base64Url.EncodeToString(mac);
    }

    private static string? ValueOf(Claim claim, string path, UrlGrant grant, SigningKey key) => claim switch
    {
        Claim.Country => Country(grant.Country),
        Claim.Address => Address(grant.Address),
        // The empty id is the key of URLs that name none.
        Claim.KeyId => key.Id.Length == 0 ? null : key.Id,
        Claim.NotBefore => NotBefore(grant),
        Claim.NextFile => Text(grant.NextFile, MaxPathClaimLength, nameof(UrlGrant.NextFile)),
        Claim.Prefix => Prefix(grant.Prefix, path),
        Claim.SessionId => Text(grant.SessionId, MaxIdLength, nameof(UrlGrant.SessionId)),
        Claim.TrackId => Text(grant.TrackId, MaxIdLength, nameof(UrlGrant.TrackId)),
        _ => null,
    };

    private static string UnixSeconds(DateTimeOffset time, string name)
    {
        var seconds = time.ToUnixTimeSeconds();
        if (seconds < 0)
            throw new ArgumentException($"{name} is before 1970.");
        return seconds.ToString(CultureInfo.InvariantCulture);
    }

    private static string? NotBefore(UrlGrant grant)
    {
        if (grant.NotBefore is not { } notBefore)
            return null;
        if (notBefore > grant.Expires)
            throw new ArgumentException("NotBefore is after Expires: the URL would never be valid.");
        return UnixSeconds(notBefore, nameof(UrlGrant.NotBefore));
    }

    private static string? Country(string? value)
    {
        if (value is not null && !(value.Length == 2 && char.IsAsciiLetterUpper(value[0]) && char.IsAsciiLetterUpper(value[1])))
            throw new ArgumentException($"Country '{value}' is not two capital letters (ISO 3166-1 alpha-2).");
        return value;
    }

    private static string? Address(string? value)
    {
        if (value is not null && !AddressNetwork.TryParse(value, out _))
            throw new ArgumentException($"Address '{value}' is neither an IPv4 or IPv6 address nor a network in CIDR notation.");
        return value;
    }

    private static string? Prefix(string? value, string path)
    {
        if (Text(value, MaxPathClaimLength, nameof(UrlGrant.Prefix)) is null)
            return null;
        if (!value!.StartsWith('/') || !path.StartsWith(value, StringComparison.Ordinal))
            throw new ArgumentException($"Prefix '{value}' does not start with '/', or the path '{path}' does not start with it.");
        return value;
    }

    private static string? Text(string? value, int maxLength, string name)
    {
        if (value is null)
            return null;
        if (value.Length == 0 || value.Length > maxLength)
            throw new ArgumentException($"{name} has {value.Length} characters, not 1 to {maxLength}.");
        if (value.AsSpan().ContainsAnyExceptInRange('!', '~') || value.AsSpan().ContainsAny("&=#"))
            throw new ArgumentException($"{name} holds a character other than printable ASCII, or one of '&', '=', '#' and space.");
        return value;
    }

    // Of the spellings that decode to the same bytes, only two are taken, without and with padding: no white space, no stray low bits.
    private static bool TryDecodeSignature(ReadOnlySpan<char> text, Span<byte> signature)
    {
        if (text.Length == SignatureLength + 1 && text[^1] == '=')
            text = text[..^1];
        return text.Length == SignatureLength
            && CanonicalLastCharacters.Contains(text[^1])
            && Base64Url.DecodeFromChars(text, signature, out _, out var written) == OperationStatus.Done // Try… throws where it is not base64url
            && written == MacBytes;
    }
}
