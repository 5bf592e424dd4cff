namespace Delivery.TokenAuth;

/// <summary>
/// What a signed URL says. Filled only when the MAC holds, whatever the verdict after it, so that nothing unsigned is ever believed; else
/// all default. The spans lie in the query given to <see cref="ITokenScheme.Verify"/> and are as on the wire; an absent claim is empty.
/// </summary>
public readonly ref struct TokenClaims
{
    /// <summary>Whether the MAC held, so that the rest is filled.</summary>
    public bool IsAuthentic { get; init; }

    /// <summary><c>expires</c>: the last valid second, in Unix seconds.</summary>
    public long Expires { get; init; }

    /// <summary><c>nbf</c>: the first valid second, in Unix seconds; 0 when absent.</summary>
    public long NotBefore { get; init; }

    /// <summary><c>kid</c>: the id of the key; empty for the default key.</summary>
    public ReadOnlySpan<char> KeyId { get; init; }

    /// <summary><c>sid</c>: the playback session.</summary>
    public ReadOnlySpan<char> SessionId { get; init; }

    /// <summary><c>tid</c>: the track.</summary>
    public ReadOnlySpan<char> TrackId { get; init; }

    /// <summary><c>cc</c>: the listener's country.</summary>
    public ReadOnlySpan<char> Country { get; init; }

    /// <summary><c>nxt</c>: the object key of the file that the player will want next.</summary>
    public ReadOnlySpan<char> NextFile { get; init; }

    /// <summary><c>pfx</c>: the prefix of the paths that the URL opens; empty when it opens one path.</summary>
    public ReadOnlySpan<char> Prefix { get; init; }
}
