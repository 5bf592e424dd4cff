namespace Delivery.Origin.Catalog;

/// <summary>Every write of this origin goes past here, so that its lists and its playback see it at once.</summary>
internal sealed class CatalogWatch(ReadModel model, CatalogCache<ReleaseManifest> releases, CatalogCache<TrackManifest> tracks)
{
    public void Saw(ReleaseManifest release)
    {
        releases.Remove(release.ReleaseId);
        model.Apply(release);
    }

    public void Saw(TrackManifest track)
    {
        tracks.Remove(track.TrackId);
        model.Apply(track);
    }
}
