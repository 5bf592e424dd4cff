namespace Delivery.TokenAuth;

/// <summary>The outcome of verifying a signed URL. Only <see cref="Valid"/> admits a request.</summary>
public enum TokenVerdict
{
    /// <summary>Signed by a key of the ring, in scope and in time.</summary>
    Valid,

    /// <summary>No <c>sig</c> parameter.</summary>
    Missing,

    /// <summary>Not of the format: bad <c>sig</c> or <c>expires</c>, a reserved name twice or without a value, or (once the MAC holds) a bad claim value.</summary>
    Malformed,

    /// <summary>The ring has no key of the id that the URL names.</summary>
    UnknownKey,

    /// <summary>The MAC is not the one of this path and these claims.</summary>
    BadSignature,

    /// <summary>Rightly signed, but for other paths or another client address.</summary>
    WrongScope,

    /// <summary>Rightly signed, for a later time.</summary>
    NotYetValid,

    /// <summary>Rightly signed, for an earlier time.</summary>
    Expired,
}

/// <summary>The words for verdicts in headers, logs, metrics and vector files.</summary>
public static class TokenVerdictNames
{
    /// <exception cref="ArgumentOutOfRangeException">Not a verdict.</exception>
    public static string ToWire(this TokenVerdict verdict) => verdict switch
    {
        TokenVerdict.Valid => "valid",
        TokenVerdict.Missing => "missing",
        TokenVerdict.Malformed => "malformed",
        TokenVerdict.UnknownKey => "unknown_key",
        TokenVerdict.BadSignature => "bad_signature",
        TokenVerdict.WrongScope => "wrong_scope",
        TokenVerdict.NotYetValid => "not_yet_valid",
        TokenVerdict.Expired => "expired",
        _ => throw new ArgumentOutOfRangeException(nameof(verdict)),
    };
}
