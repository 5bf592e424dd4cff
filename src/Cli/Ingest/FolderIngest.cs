using System.Security.Cryptography;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;
using Spectre.Console;

namespace Delivery.Cli.Ingest;

/// <summary>
/// Brings a folder to the origin. Every step is idempotent, so running it again after any interruption does what is left, and after success
/// does nothing: the release's document is compared by the origin, and a master is sent only when its digest is not the current one or the
/// store has lost it. A job that failed for want of a disk, a tool or a store is queued again. An origin that is away is waited for.
/// </summary>
/// <param name="origin">Whom it is brought to.</param>
/// <param name="context">Where progress and results go.</param>
/// <param name="retryFor">How long the origin may stay away at a time.</param>
internal sealed class FolderIngest(OriginClient origin, CommandContext context, TimeSpan retryFor)
{
    /// <summary>Often enough for a bar that moves, rare enough to be no load.</summary>
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(500);

    private readonly Patience _patience = new(context, retryFor, TimeProvider.System);

    /// <summary>Masters that this run sent.</summary>
    private readonly HashSet<string> _uploaded = new(StringComparer.Ordinal);

    /// <summary>Masters that could not be read or were refused, with the reason: one bad file does not keep the others from arriving.</summary>
    private readonly Dictionary<string, CliException> _refused = new(StringComparer.Ordinal);

    public async Task<int> RunAsync(ReleaseFolder folder, bool wait, CancellationToken cancellationToken)
    {
        var status = await _patience.AskAsync(_ => origin.PutReleaseAsync(folder.ReleaseId, folder.Document, cancellationToken), cancellationToken);
        await context.Progress.Progress().AutoClear(false).HideCompleted(false)
            .Columns(new TaskDescriptionColumn { Alignment = Justify.Left }, new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .StartAsync(async progress =>
            {
                var bars = folder.Tracks.ToDictionary(track => track.TrackId, track => progress.AddTask(Label(track, "waiting"), maxValue: 1));
                foreach (var track in folder.Tracks)
                {
                    try
                    {
                        await UploadAsync(folder.ReleaseId, track, status, bars[track.TrackId], cancellationToken);
                    }
                    catch (CliException e) when (e.ExitCode != ExitCode.Unreachable)
                    {
                        _refused[track.TrackId] = e;
                        bars[track.TrackId].Description = Label(track, "refused");
                        bars[track.TrackId].StopTask();
                    }
                }

                status = wait ? await FollowAsync(folder, bars, cancellationToken) : await StatusAsync(folder.ReleaseId, cancellationToken);
            });
        return Report(folder, status, wait);
    }

    private async Task UploadAsync(string releaseId, FolderTrack track, ReleaseStatus status, ProgressTask bar, CancellationToken cancellationToken)
    {
        bar.Description = Label(track, "reading");
        try
        {
            await using var file = new FileStream(track.File, FileMode.Open, FileAccess.Read, FileShare.Read, 1, FileOptions.Asynchronous | FileOptions.SequentialScan);
            var sha256 = await SHA256.HashDataAsync(file, cancellationToken);
            var sent = false;
            await _patience.AskAsync(
                async failures =>
                {
                    // What broke off may have arrived all the same, with the answer alone lost.
                    var current = Find(failures == 0 ? status : await origin.GetReleaseAsync(releaseId, cancellationToken), track);
                    if (current?.Master?.Sha256 == Convert.ToHexStringLower(sha256) && current.Failure?.Code is not (JobFailure.MasterMissing or JobFailure.MasterDigestMismatch))
                    {
                        if (current is { State: TrackState.Failed, Failure: { } failure, Job: { } job } && !IsOfTheMaster(failure.Code))
                            await origin.RetryJobAsync(job.JobId, cancellationToken);
                        if (sent)
                            _uploaded.Add(track.TrackId);
                        bar.Value = 1;
                        return true;
                    }

                    file.Position = 0;
                    bar.Description = Label(track, "uploading");
                    sent = true;
                    var counted = new CountedStream(file, sent => bar.Value = file.Length == 0 ? 1 : (double)sent / file.Length);
                    await origin.PutMasterAsync(releaseId, track.TrackId, Path.GetFileName(track.File), track.ContentType, counted, sha256, cancellationToken);
                    _uploaded.Add(track.TrackId);
                    return true;
                },
                cancellationToken);
        }
        catch (Exception e) when (e is FileNotFoundException or UnauthorizedAccessException or DirectoryNotFoundException)
        {
            throw new CliException(ExitCode.Environment, $"{track.File} cannot be read: {e.Message}", e);
        }
    }

    private async Task<ReleaseStatus> FollowAsync(ReleaseFolder folder, Dictionary<string, ProgressTask> bars, CancellationToken cancellationToken)
    {
        using var timer = new PeriodicTimer(PollInterval);
        while (true)
        {
            var status = await StatusAsync(folder.ReleaseId, cancellationToken);
            var pending = 0;
            foreach (var track in folder.Tracks.Where(track => !_refused.ContainsKey(track.TrackId)))
            {
                var bar = bars[track.TrackId];
                if (Find(status, track) is not { } now)
                {
                    bar.Description = Label(track, ApiWord.Of(TrackState.Withdrawn));
                    bar.StopTask();
                    continue;
                }

                bar.Value = now.State == TrackState.Ready ? 1 : now.Job?.Progress ?? 0;
                bar.Description = Label(track, now.State == TrackState.Transcoding ? ApiWord.Of(now.Job!.Phase) : ApiWord.Of(now.State));
                if (now.State is TrackState.Ready or TrackState.Failed or TrackState.Withdrawn)
                    bar.StopTask();
                else
                    pending++;
            }

            if (pending == 0)
                return status;
            await timer.WaitForNextTickAsync(cancellationToken);
        }
    }

    private Task<ReleaseStatus> StatusAsync(string releaseId, CancellationToken cancellationToken) =>
        _patience.AskAsync(_ => origin.GetReleaseAsync(releaseId, cancellationToken), cancellationToken);

    private int Report(ReleaseFolder folder, ReleaseStatus status, bool waited)
    {
        var code = ExitCode.Ok;
        foreach (var track in folder.Tracks)
        {
            var now = Find(status, track);
            var refusal = _refused.GetValueOrDefault(track.TrackId);
            if (refusal is not null)
                code = refusal.ExitCode;
            else if ((now is null || (waited && now.State != TrackState.Ready)) && code == ExitCode.Ok)
                code = ExitCode.Failed;
            var line = new IngestLine(
                track.TrackId,
                track.Title,
                ApiWord.Of(now?.State ?? TrackState.Withdrawn),
                _uploaded.Contains(track.TrackId),
                refusal is not null ? "refused" : now is null ? "withdrawn" : now.Failure is { } failure ? ApiWord.Of(failure.Code) : null,
                refusal?.Message ?? (now is null ? "Somebody else has put a release document without this track meanwhile; agree on the release's id, then ingest again." : now.Failure?.Message));
            if (context.Json)
                context.WriteJson(line, CliJson.Default.IngestLine);
            else
                Print(line);
        }

        return code;
    }

    private void Print(IngestLine line)
    {
        var note = line.Uploaded || line.Failure == "refused" ? "" : "  (master unchanged)";
        context.Output.WriteLine($"{line.Track}  {line.State}  {line.Title}{note}");
        if (line.Message is not null)
            context.Output.WriteLine($"    {line.Failure}: {line.Message}");
    }

    /// <summary>Null when another writer of the release has left the track out.</summary>
    private static TrackStatus? Find(ReleaseStatus release, FolderTrack track) => release.Tracks.FirstOrDefault(candidate => candidate.TrackId == track.TrackId);

    /// <summary>The same bytes will be judged the same again; any other failure is of the machines, which may have been mended since.</summary>
    private static bool IsOfTheMaster(JobFailure failure) => failure is JobFailure.EmptyMaster or JobFailure.UnsupportedFormat or JobFailure.CorruptMaster
        or JobFailure.UnsupportedChannels or JobFailure.UnsupportedSampleFormat or JobFailure.UnsupportedDuration;

    private static string Label(FolderTrack track, string what) => $"{Markup.Escape(track.Title)} [grey]{what}[/]";
}
