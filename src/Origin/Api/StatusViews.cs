using Delivery.Origin.Catalog;
using Delivery.Origin.Farm;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Api;

/// <summary>What the API tells of releases, tracks and jobs: the manifests, with the farm's newest progress laid over them.</summary>
internal sealed class StatusViews(LiveJobs live)
{
    public ReleaseSummary Summarize(ReleaseManifest release, Func<string, TrackSummary?> find) => new()
    {
        ReleaseId = release.ReleaseId,
        Title = release.Document.Title,
        Artists = release.Document.Artists,
        AvailableFrom = release.Document.AvailableFrom,
        Revision = release.Revision,
        UpdatedAt = release.UpdatedAt,
        Counts = Count(release.Document.Tracks.Select(t =>
            find(t.Id) is { } track ? State(track.TrackId, track.State, track.UploadId) : TrackState.AwaitingMaster)),
    };

    public ReleaseStatus Show(ReleaseManifest release, IReadOnlyList<TrackManifest> tracks)
    {
        var shown = tracks.Select(t => Show(t, release)).ToList();
        var document = release.Document;
        return new ReleaseStatus
        {
            ReleaseId = release.ReleaseId,
            Title = document.Title,
            Artists = document.Artists,
            Label = document.Label,
            Upc = document.Upc,
            Territories = document.Territories,
            Tiers = document.Tiers,
            AvailableFrom = document.AvailableFrom,
            Revision = release.Revision,
            UpdatedAt = release.UpdatedAt,
            Counts = Count(shown.Select(t => t.State)),
            Tracks = shown,
        };
    }

    public TrackStatus Show(TrackManifest track, ReleaseManifest? release)
    {
        var listed = release?.FindTrack(track.TrackId);
        return new TrackStatus
        {
            TrackId = track.TrackId,
            ReleaseId = track.ReleaseId,
            State = listed is null ? TrackState.Withdrawn : State(track.TrackId, track.State, track.Master?.UploadId),
            Title = listed?.Title,
            Number = listed?.Number,
            Isrc = listed?.Isrc,
            Artists = listed is null ? null : listed.Artists ?? release!.Document.Artists,
            Job = ShowJob(TrackSummary.Of(track)),
            Failure = track.Failure,
            Master = track.Master is not { } master ? null : new MasterStatus
            {
                UploadId = master.UploadId,
                Sha256 = master.Sha256,
                Bytes = master.Bytes,
                Filename = master.Filename,
                UploadedAt = master.UploadedAt,
            },
            Published = track.Published is { } published ? Show(published) : null,
        };
    }

    /// <summary>Null when the track has no master, so no job.</summary>
    public JobStatus? ShowJob(TrackSummary track)
    {
        if (track.UploadId is null)
            return null;
        var jobId = JobIds.Of(track.TrackId, track.UploadId);
        var report = track.State == MasterState.Queued ? live.Find(jobId) : null;
        return new JobStatus
        {
            JobId = jobId,
            TrackId = track.TrackId,
            ReleaseId = track.ReleaseId,
            Phase = track.State switch
            {
                MasterState.Ready => JobPhase.Done,
                MasterState.Failed => JobPhase.Failed,
                _ => report?.Phase ?? JobPhase.Queued,
            },
            Progress = track.State == MasterState.Ready ? 1 : report?.Progress ?? 0,
            Attempt = report?.Attempt,
            SecondsLeft = report?.SecondsLeft,
            Worker = report?.Worker,
            Failure = track.Failure,
            UpdatedAt = report?.At ?? track.UpdatedAt,
        };
    }

    private TrackState State(string trackId, MasterState state, string? uploadId) => state switch
    {
        MasterState.Ready => TrackState.Ready,
        MasterState.Failed => TrackState.Failed,
        MasterState.AwaitingMaster => TrackState.AwaitingMaster,
        _ => live.Find(JobIds.Of(trackId, uploadId!)) is { Phase: not JobPhase.Queued } ? TrackState.Transcoding : TrackState.Queued,
    };

    private static TrackCounts Count(IEnumerable<TrackState> states)
    {
        var counts = new int[Enum.GetValues<TrackState>().Length];
        foreach (var state in states)
            counts[(int)state]++;
        return new TrackCounts(
            counts.Sum(), counts[(int)TrackState.AwaitingMaster], counts[(int)TrackState.Queued], counts[(int)TrackState.Transcoding],
            counts[(int)TrackState.Ready], counts[(int)TrackState.Failed]);
    }

    private static PublishedStatus Show(PublishedRenditions published) => new()
    {
        MasterSha256 = published.MasterSha256,
        Ladder = published.Ladder,
        Encoder = published.Encoder,
        PublishedAt = published.PublishedAt,
        DurationMs = (long)published.Master.Duration.TotalMilliseconds,
        MasterFacts = published.Master,
        Loudness = published.Loudness,
        Report = published.Report,
        Warnings = published.Warnings,
        Renditions = [.. published.Renditions.Select(r => new RenditionStatus
        {
            Quality = r.Quality,
            Codec = r.Codec,
            CodecString = r.CodecString,
            FileId = r.FileId,
            Path = "/" + r.Key,
            ContentType = r.ContentType,
            Bytes = r.Bytes,
            Bitrate = r.Bitrate,
            SampleRate = r.SampleRate,
            Channels = r.Channels,
            BitsPerSample = r.BitsPerSample,
            Gapless = r.Gapless,
            FirstSoundBytes = r.FirstSoundBytes,
            Sha256 = r.Sha256,
        })],
    };
}
