using System.Buffers.Text;
using System.Globalization;
using System.Text;
using Delivery.Edge.Cache;
using Delivery.Edge.Freshness;
using Delivery.Edge.Objects;
using Delivery.Edge.Upstreams;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Peers;

/// <summary>What a request from another edge meets beyond what a listener's does, and what its answer says beyond. The token is judged before, by the peers' own key ring.</summary>
internal sealed class PeerDoor(EdgeOptions options, ChunkCache cache)
{
    /// <summary>What a request may ask of the peer port.</summary>
    public const string Allow = "GET, HEAD";

    /// <summary>Edges that a question may have passed: an edge, a shield of the region and one before the store are three.</summary>
    public const int MaxHops = 8;

    /// <summary>Whether the request may be answered: 0, or the status to refuse it with.</summary>
    public int Judge(IHeaderDictionary request, IHeaderDictionary response, out Asker asker)
    {
        asker = default;
        var applied = cache.Sequence;
        response[PeerFields.LogSequence] = applied.ToString(CultureInfo.InvariantCulture);
        var wanted = request[PeerFields.LogSequence];
        if (wanted.Count != 1 || !ContentRangeField.TryParseNumber(wanted[0], out var sequence))
            return StatusCodes.Status400BadRequest;
        // RFC 8586 §2.
        var loop = request[PeerFields.Loop];
        if (IsLoop(loop))
            return StatusCodes.Status508LoopDetected;
        // What the asking edge has purged may still be here.
        if (applied < sequence)
            return StatusCodes.Status503ServiceUnavailable;
        asker = new(request[PeerFields.Peer] == PeerFields.Sibling, loop.Count == 0 ? null : loop.ToString());
        return 0;
    }

    /// <summary>What tells the asking edge what this one knows of the object.</summary>
    public static void Describe(IHeaderDictionary headers, EdgeObject known, DateTimeOffset now)
    {
        var info = known.Info!;
        headers[PeerFields.ObjectVersion] = Base64Url.EncodeToString(Encoding.UTF8.GetBytes(info.Version));
        // As a listener is told it, which the asking edge makes of it as well.
        headers.ContentType = known.ContentType;
        headers.LastModified = info.LastModified.ToString("R", CultureInfo.InvariantCulture);
        if (info.Sha256 is { } sha256)
            headers[ReprDigest.FieldName] = ReprDigest.Of(sha256);
        if (known.Freshness is { } freshness)
            AddFreshness(headers, freshness, now);
    }

    // RFC 9111 §4.2.3: time here is time in an upstream cache there.
    private static void AddFreshness(IHeaderDictionary headers, ResponseFreshness freshness, DateTimeOffset now)
    {
        headers.Age = Seconds(freshness.AgeAt(now));
        var field = new StringBuilder("max-age=").Append(Seconds(freshness.Lifetime));
        if (freshness.StaleWhileRevalidate > TimeSpan.Zero)
            field.Append(", stale-while-revalidate=").Append(Seconds(freshness.StaleWhileRevalidate));
        if (freshness.StaleIfError > TimeSpan.Zero)
            field.Append(", stale-if-error=").Append(Seconds(freshness.StaleIfError));
        if (freshness.MustRevalidate)
            field.Append(", must-revalidate");
        if (freshness.NoCache)
            field.Append(", no-cache");
        if (freshness.Immutable)
            field.Append(", immutable");
        headers.CacheControl = field.ToString();
    }

    private static string Seconds(TimeSpan time) => Math.Clamp((long)time.TotalSeconds, 0, CacheDirectives.MaxSeconds).ToString(CultureInfo.InvariantCulture);

    private bool IsLoop(StringValues loop)
    {
        var hops = 0;
        foreach (var line in loop)
        {
            foreach (var range in line.AsSpan().Split(','))
            {
                // A name may have parameters.
                var name = line.AsSpan()[range];
                var end = name.IndexOf(';');
                name = (end < 0 ? name : name[..end]).Trim();
                if (name.Equals(options.EdgeId, StringComparison.OrdinalIgnoreCase) || ++hops > MaxHops)
                    return true;
            }
        }

        return false;
    }
}
