using System.Buffers.Text;
using System.Security.Cryptography;
using Delivery.ObjectStore;
using Delivery.Origin.Catalog;
using Delivery.TokenAuth;

namespace Delivery.Origin.Playback;

/// <summary>
/// Answers "may this listener hear this track, and where is it": two manifests by id, rights, choice, signatures. Nothing else is on this
/// path, so that playback goes on without lists, queue or farm.
/// </summary>
internal sealed class PlaybackGrants(
    CatalogCache<TrackManifest> tracks, CatalogCache<ReleaseManifest> releases, KeyRingFile keyRing, IReadOnlyList<string> edgeBases, TimeProvider time)
{
    /// <summary>Every rendition sounds within its first 64 KiB (the ladder's rule), and players ask for that much first.</summary>
    public const int HeadBytes = 65_536;

    /// <summary>A URL lasts for twice what is heard, so for the whole track with pauses and seeks, and at least this long, so that a pause in a short track does not end it.</summary>
    private static readonly TimeSpan ShortestLife = TimeSpan.FromHours(1);

    private readonly string[] _bases = [.. edgeBases.Select(b => b.TrimEnd('/'))];

    /// <returns>A grant or a refusal, and whether any of it rests on what may be stale.</returns>
    public async Task<(PlaybackAnswer? Answer, PlaybackRefusal? Refusal, bool MayBeStale)> GrantAsync(PlaybackRequest request, CancellationToken cancellationToken)
    {
        var now = time.GetUtcNow();
        var wanted = request.Next.Select(id => ResolveNextAsync(id, request, now, cancellationToken)).Prepend(ResolveAsync(request.TrackId, request, now, cancellationToken)).ToList();
        var resolved = await Task.WhenAll(wanted);
        var mayBeStale = resolved.Any(r => r.MayBeStale);
        if (resolved[0].Refusal is { } refusal)
            return (null, refusal, mayBeStale);

        var ring = keyRing.Current;
        var session = Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(16));
        var (track, choice, _, _) = resolved[0];
        var chosen = choice[0];
        var expires = now + Life(chosen);
        var next = resolved.Length > 1 && resolved[1].Refusal is null ? resolved[1].Choice[0].Key : null;
        var granted = choice.Select(r => new GrantedRendition
        {
            Quality = r.Quality,
            Codec = r.Codec,
            CodecString = r.CodecString,
            ContentType = r.ContentType,
            Bitrate = r.Bitrate,
            Bytes = r.Bytes,
            Gapless = r.Gapless,
            Urls = Sign(r, track!.TrackId, expires, next),
        }).ToList();

        var prefetch = new List<PrefetchEntry>(request.Next.Count);
        var heardBefore = chosen.Duration;
        for (var i = 1; i < resolved.Length; i++)
        {
            var (nextTrack, nextChoice, nextRefusal, _) = resolved[i];
            if (nextRefusal is not null)
            {
                prefetch.Add(new PrefetchEntry { TrackId = request.Next[i - 1], Refused = nextRefusal });
                continue;
            }

            var head = nextChoice[0];
            var until = now + heardBefore + Life(head);
            heardBefore += head.Duration;
            prefetch.Add(new PrefetchEntry
            {
                TrackId = nextTrack!.TrackId,
                Quality = head.Quality,
                Codec = head.Codec,
                Urls = Sign(head, nextTrack.TrackId, until, null),
                HeadBytes = HeadBytes,
                ExpiresAt = DateTimeOffset.FromUnixTimeSeconds(until.ToUnixTimeSeconds()),
            });
        }

        var loudness = track!.Published!.Loudness;
        return (new PlaybackAnswer
        {
            TrackId = track.TrackId,
            Url = granted[0].Urls[0],
            ExpiresAt = DateTimeOffset.FromUnixTimeSeconds(expires.ToUnixTimeSeconds()),
            Quality = chosen.Quality,
            Codec = chosen.Codec,
            Bitrate = chosen.Bitrate,
            DurationMs = (long)chosen.Duration.TotalMilliseconds,
            Loudness = loudness is null ? null : new PlaybackLoudness(loudness.IntegratedLufs, loudness.TruePeakDbtp),
            Gapless = chosen.Gapless,
            Renditions = granted,
            Prefetch = prefetch,
        }, null, mayBeStale);

        IReadOnlyList<string> Sign(PublishedRendition rendition, string trackId, DateTimeOffset until, string? nextFile)
        {
            var signed = NativeScheme.Instance.Sign(ring, "/" + rendition.Key, new UrlGrant
            {
                Expires = until,
                SessionId = session,
                TrackId = trackId,
                Country = request.Country,
                NextFile = nextFile,
            });
            return _bases.Length == 0 ? [signed] : [.. _bases.Select(b => b + signed)];
        }
    }

    // What comes next is a favour: a store that cannot tell of it now keeps nobody from hearing what is there.
    private async Task<Resolved> ResolveNextAsync(string trackId, PlaybackRequest request, DateTimeOffset now, CancellationToken cancellationToken)
    {
        try
        {
            return await ResolveAsync(trackId, request, now, cancellationToken);
        }
        catch (StoreException e) when (e.CanRetry)
        {
            return new(null, [], PlaybackRefusal.Unavailable, MayBeStale: false);
        }
    }

    private async Task<Resolved> ResolveAsync(string trackId, PlaybackRequest request, DateTimeOffset now, CancellationToken cancellationToken)
    {
        var track = CatalogKeys.IsId(trackId) ? await tracks.GetAsync(trackId, cancellationToken) : null;
        var release = track is null ? null : await releases.GetAsync(track.ReleaseId, cancellationToken);
        var mayBeStale = track is { MayBeStale: true } || release is { MayBeStale: true };
        if (track is null || release?.FindTrack(trackId) is null)
            return new(null, [], PlaybackRefusal.UnknownTrack, mayBeStale);
        if (track.Published is null)
            return new(track, [], PlaybackRefusal.NotReady, mayBeStale);
        if (PlaybackRights.Refuse(release, request.Tier, request.Country, request.Quality, now) is { } refusal)
            return new(track, [], refusal, mayBeStale);
        var choice = RenditionChoice.Choose(track.Published.Renditions, request.Quality, request.Codecs, request.Tier);
        return new(track, choice, choice.Count == 0 ? PlaybackRefusal.Codec : null, mayBeStale);
    }

    private static TimeSpan Life(PublishedRendition rendition) =>
        rendition.Duration * 2 > ShortestLife ? rendition.Duration * 2 : ShortestLife;

    private readonly record struct Resolved(TrackManifest? Track, IReadOnlyList<PublishedRendition> Choice, PlaybackRefusal? Refusal, bool MayBeStale);
}
