using System.Net;

namespace Delivery.TokenAuth;

/// <summary>A dialect of signed URLs. The native one is <see cref="NativeScheme"/>; other CDNs' dialects join by this contract.</summary>
public interface ITokenScheme
{
    /// <summary>Judges a signed URL. Allocates nothing once its key has been used by as many threads at a time, and never throws.</summary>
    /// <param name="ring">The keys that may have signed.</param>
    /// <param name="path">The path as sent, from <see cref="RequestTarget.TrySplit"/>.</param>
    /// <param name="query">The query as sent, without <c>?</c>.</param>
    /// <param name="client">The address of the listener, for URLs bound to one; with null such a URL is out of scope.</param>
    /// <param name="nowUnixSeconds">The time to judge by.</param>
    /// <param name="claims">What the URL says, once the MAC holds.</param>
    TokenVerdict Verify(KeyRing ring, ReadOnlySpan<char> path, ReadOnlySpan<char> query, IPAddress? client, long nowUnixSeconds, out TokenClaims claims);

    /// <summary>Signs a path; gives <c>path?…&amp;sig=…</c>.</summary>
    /// <exception cref="ArgumentException">The path, a claim or the key id cannot be signed; the message says why.</exception>
    string Sign(KeyRing ring, string path, UrlGrant grant);
}
