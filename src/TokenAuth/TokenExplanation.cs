using System.Globalization;
using System.Net;
using System.Text;

namespace Delivery.TokenAuth;

/// <summary>A claim of a signed URL as the operator sees it.</summary>
/// <param name="Name">Name on the wire.</param>
/// <param name="Value">Value on the wire.</param>
/// <param name="Meaning">What it says, in words.</param>
public sealed record ExplainedClaim(string Name, string Value, string Meaning);

/// <summary>
/// Why a signed URL is judged as it is: for operators, not for the wire. The verdict is the one of <see cref="NativeScheme.Verify"/>, called
/// as an edge calls it; everything else is description. Holds no key material.
/// </summary>
public sealed record TokenExplanation
{
    /// <summary>The verdict; null when the edge answers 400 before it looks at the token, because the target has no canonical reading.</summary>
    public required TokenVerdict? Verdict { get; init; }

    /// <summary>The verdict's word on the wire, or <c>bad_target</c>.</summary>
    public string VerdictName => Verdict?.ToWire() ?? "bad_target";

    /// <summary>Why, in one sentence.</summary>
    public required string Reason { get; init; }

    /// <summary>The path as sent.</summary>
    public string Path { get; init; } = "";

    /// <summary>The id of the key the URL names; empty for the default key; null when it cannot be told.</summary>
    public string? KeyId { get; init; }

    /// <summary>The last valid second; null when absent, not a number or after the year 9999.</summary>
    public DateTimeOffset? Expires { get; init; }

    /// <summary>From now to <see cref="Expires"/>; negative when that is past.</summary>
    public TimeSpan? ExpiresIn { get; init; }

    /// <summary><c>expires</c> and the claims, in the order of the signed message.</summary>
    public IReadOnlyList<ExplainedClaim> Claims { get; init; } = [];

    /// <summary>Parameters that are neither signed nor looked at.</summary>
    public IReadOnlyList<string> IgnoredParameters { get; init; } = [];

    /// <summary>The message that the MAC covers; null when none can be composed.</summary>
    public string? Message { get; init; }

    /// <summary>Whether the MAC holds, so that the claims are the signer's. When false they are only what the URL says.</summary>
    public bool ClaimsAreAuthentic { get; init; }

    /// <summary>Explains a URL, absolute or from its path on.</summary>
    /// <param name="ring">The keys to verify with.</param>
    /// <param name="url">The URL as it would be requested.</param>
    /// <param name="client">The listener's address; null when unknown.</param>
    /// <param name="nowUnixSeconds">The time to judge by.</param>
    public static TokenExplanation Of(KeyRing ring, string url, IPAddress? client, long nowUnixSeconds)
    {
        ArgumentNullException.ThrowIfNull(ring);
        ArgumentNullException.ThrowIfNull(url);
        var target = TargetOf(url);
        if (!RequestTarget.TrySplit(target, out var path, out var query))
        {
            return new TokenExplanation
            {
                Verdict = null,
                Reason = "the request target has no canonical reading: it must start with '/', be no longer than 8192 characters, and its path must hold no '//', "
                    + "dot segment, backslash, ';', '#', control, non-ASCII character, or escape of one of these, of '/', of '.' or of '%'; the edge answers 400",
            };
        }

        var verdict = NativeScheme.Instance.Verify(ring, path, query, client, nowUnixSeconds, out var verified);
        var state = TokenQuery.Parse(query, out var token);
        var message = new byte[SignedMessage.MaxBytes];
        var composed = SignedMessage.TryWrite(path, token, message, out var length);
        var expires = Time(token.Expires);
        // Claims are given only once the MAC holds.
        var authentic = verified.IsAuthentic;
        return new TokenExplanation
        {
            Verdict = verdict,
            Reason = ReasonOf(verdict, state, token, ring, path, client, nowUnixSeconds, authentic),
            Path = path.ToString(),
            KeyId = state == TokenQueryState.Complete ? token[Claim.KeyId].ToString() : null,
            Expires = expires,
            ExpiresIn = expires - DateTimeOffset.FromUnixTimeSeconds(nowUnixSeconds),
            Claims = ClaimsOf(token),
            IgnoredParameters = IgnoredOf(query),
            Message = composed && !token.Expires.IsEmpty ? Encoding.UTF8.GetString(message, 0, length) : null,
            ClaimsAreAuthentic = authentic,
        };
    }

    /// <summary>The explanation as lines of text for a terminal. Characters that could steer one are shown as <c>?</c>.</summary>
    public override string ToString()
    {
        var text = new StringBuilder().Append("verdict   ").Append(VerdictName).Append('\n').Append("because   ").Append(Reason).Append('\n');
        if (Path.Length > 0)
            text.Append("path      ").Append(Path).Append('\n');
        if (KeyId is not null)
            text.Append("key       ").Append(KeyId.Length == 0 ? "(default)" : KeyId).Append('\n');
        if (Expires is { } expires && ExpiresIn is { } left)
            text.Append("expires   ").Append(Shown(expires)).Append(", ").Append(Relative(left)).Append('\n');
        foreach (var claim in Claims)
            text.Append("claim     ").Append(claim.Name).Append('=').Append(claim.Value).Append("  ").Append(claim.Meaning).Append('\n');
        if (Claims.Count > 0 && !ClaimsAreAuthentic)
            text.Append("          (not signed by a key of this ring: only what the URL says)\n");
        foreach (var name in IgnoredParameters)
            text.Append("ignored   ").Append(name).Append('\n');
        if (Message is not null)
            text.Append("message   ").Append(Message).Append('\n');
        for (var i = 0; i < text.Length; i++)
        {
            if (char.IsControl(text[i]) && text[i] != '\n')
                text[i] = '?';
        }

        return text.ToString();
    }

    // As an HTTP client would cut it: the target starts after the authority. The fragment stays, so that it is seen to be refused.
    private static ReadOnlySpan<char> TargetOf(string url)
    {
        if (!url.StartsWith("http://", StringComparison.OrdinalIgnoreCase) && !url.StartsWith("https://", StringComparison.OrdinalIgnoreCase))
            return url;
        var authority = url.AsSpan(url.IndexOf("//", StringComparison.Ordinal) + 2);
        var end = authority.IndexOfAny('/', '?', '#');
        return end < 0 ? "/" : authority[end] == '/' ? authority[end..] : string.Concat("/", authority[end..]);
    }

    private static List<ExplainedClaim> ClaimsOf(in TokenQuery token)
    {
        var claims = new List<ExplainedClaim>();
        if (!token.Expires.IsEmpty)
            claims.Add(new ExplainedClaim(TokenQuery.ExpiresName, token.Expires.ToString(), TimeInWords("valid through", token.Expires)));
        for (var claim = Claim.Country; claim <= Claim.TrackId; claim++)
        {
            if (token.Has(claim))
                claims.Add(new ExplainedClaim(TokenQuery.ClaimNames[(int)claim], token[claim].ToString(), MeaningOf(claim, token[claim])));
        }

        return claims;
    }

    private static string MeaningOf(Claim claim, ReadOnlySpan<char> value) => claim switch
    {
        Claim.Country => "the listener's country",
        Claim.Address => AddressNetwork.TryParse(value, out _) ? "only for listeners at this address or network" : "neither an address nor a network",
        Claim.KeyId => "the key that signed",
        Claim.NotBefore => TimeInWords("not before", value),
        Claim.NextFile => "the next file, to prefetch",
        Claim.Prefix => value is ['/', ..] ? "opens every path that starts so" : "not a prefix: it does not start with '/'",
        Claim.SessionId => "the playback session",
        _ => "the track",
    };

    private static List<string> IgnoredOf(ReadOnlySpan<char> query)
    {
        var ignored = new List<string>();
        foreach (var range in query.Split('&'))
        {
            var parameter = query[range];
            var equals = parameter.IndexOf('=');
            var name = equals < 0 ? parameter : parameter[..equals];
            if (parameter.Length > 0 && name is not (TokenQuery.ExpiresName or TokenQuery.SignatureName) && TokenQuery.ClaimOf(name) < 0)
                ignored.Add(name.ToString());
        }

        return ignored;
    }

    private static string ReasonOf(
        TokenVerdict verdict, TokenQueryState state, in TokenQuery token, KeyRing ring, ReadOnlySpan<char> path, IPAddress? client, long now, bool authentic) => verdict switch
        {
            TokenVerdict.Valid => "the signature holds, and the path, the time and the address are in scope",
            TokenVerdict.Missing => "there is no 'sig' parameter",
            TokenVerdict.Malformed => MalformedReason(state, token, authentic),
            TokenVerdict.UnknownKey => $"the ring has no key '{token[Claim.KeyId]}'; it has: {string.Join(", ", ring.KeyIds.Select(id => $"'{id}'"))}",
            TokenVerdict.BadSignature => "the signature is not the one of this message by this key: the path or a claim was changed, added or removed after signing, or another key signed",
            TokenVerdict.WrongScope when token.Has(Claim.Prefix) && !path.StartsWith(token[Claim.Prefix]) => $"the path does not start with the signed prefix '{token[Claim.Prefix]}'",
            TokenVerdict.WrongScope => client is null
                ? $"the URL is for listeners at {token[Claim.Address]}, and the listener's address is not known"
                : $"the URL is for listeners at {token[Claim.Address]}, not at {client}",
            TokenVerdict.NotYetValid => $"it is valid only from {TimeInWords("", token[Claim.NotBefore])}",
            TokenVerdict.Expired when Time(token.Expires) is { } expires => $"it expired {Shown(expires)}, {Relative(expires - DateTimeOffset.FromUnixTimeSeconds(now))}",
            _ => "it has expired",
        };

    private static string MalformedReason(TokenQueryState state, in TokenQuery token, bool authentic)
    {
        if (authentic)
            return "the signature holds, but a claim's value is not of its form: 'nbf' is Unix seconds, 'ip' an address or network, 'pfx' starts with '/'";
        if (state == TokenQueryState.Malformed)
            return "'expires' is missing, or a reserved parameter stands twice or without '='";
        if (!TokenQuery.TryParseTime(token.Expires, out _))
            return "'expires' is not Unix seconds: 1 to 18 digits";
        return "'sig' is not the base64url of 32 bytes (43 characters, or 44 with one '=' of padding), or the URL is longer than 8192";
    }

    private static DateTimeOffset? Time(ReadOnlySpan<char> text) =>
        TokenQuery.TryParseTime(text, out var seconds) && seconds <= DateTimeOffset.MaxValue.ToUnixTimeSeconds() ? DateTimeOffset.FromUnixTimeSeconds(seconds) : null;

    private static string TimeInWords(string words, ReadOnlySpan<char> text) => (Time(text) is { } time ? $"{words} {Shown(time)}"
        : TokenQuery.TryParseTime(text, out _) ? $"{words} a time after the year 9999" : "not Unix seconds").Trim();

    private static string Shown(DateTimeOffset time) => time.ToString("yyyy-MM-dd HH:mm:ss 'UTC'", CultureInfo.InvariantCulture);

    private static string Relative(TimeSpan left)
    {
        var size = left.Duration();
        var words = size.TotalDays >= 2 ? $"{(long)size.TotalDays} days"
            : size.TotalHours >= 2 ? $"{(long)size.TotalHours} hours"
            : size.TotalMinutes >= 2 ? $"{(long)size.TotalMinutes} minutes"
            : $"{(long)size.TotalSeconds} s";
        return left < TimeSpan.Zero ? $"{words} ago" : $"in {words}";
    }
}
