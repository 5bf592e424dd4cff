using System.Globalization;
using System.Security.Cryptography;
using Delivery.ObjectStore;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.Verification;

namespace Delivery.Transcoder.Jobs;

/// <summary>
/// The life of a job: 1. known already? 2. fetch, 3. probe, 4. encode, 5. verify, 6. publish. Nothing of it is visible before the last step's
/// last write, and everything before can be done again.
/// </summary>
internal sealed class JobRunner(
    IObjectStore store, TranscoderOptions options, EncoderProfile profile, WorkArea area, Prober prober, Encoder encoder, Verifier verifier, TranscoderMetrics metrics, TimeProvider time)
{
    private const string MasterFile = "master"; // Without an extension: ffmpeg must judge by content.
    private const int CopyBufferBytes = 256 * 1024;
    private const int ErrorNoSpace = 28; // ENOSPC

    /// <summary>How often the reading of one master may break in one attempt; beyond it the attempt failed, and the next one starts anew.</summary>
    private const int MaxFetchBreaks = 20;

    /// <summary>How often a set whose files vanish while it is published is completed; beyond it something removes them as fast as they come.</summary>
    private const int MaxPublishPasses = 3;

    private static readonly TimeSpan FetchResumeDelay = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan MaxFetchResumeDelay = TimeSpan.FromSeconds(5);

    private readonly ResultStore _results = new(store);
    private readonly LadderStore _ladders = new(store);

    /// <param name="job">What to do.</param>
    /// <param name="progress">Told the phase, its part from 0 to 1, and what the master holds.</param>
    /// <param name="cancellationToken">Ends the tools and leaves nothing behind.</param>
    /// <returns>Key of the result manifest, and the audio that was encoded for it; null: it was there already.</returns>
    /// <exception cref="JobException">Every other outcome.</exception>
    public async Task<(ObjectKey Result, TimeSpan? Encoded)> RunAsync(TranscodeJob job, ProgressReporter progress, CancellationToken cancellationToken)
    {
        try
        {
            return await RunStepsAsync(job, progress, progress.Report, cancellationToken);
        }
        catch (StoreException error)
        {
            var remedy = error.Error == StoreError.Full ? "free space in the store" : "mend the store";
            throw new JobException(JobFailure.StoreFailed, $"The object store failed ({error.Error}): {error.Message.TrimEnd('.')}; {remedy}, then retry the job.", error.CanRetry || error.Error == StoreError.Full, error);
        }
        catch (IOException error) when ((error.HResult & 0xffff) == ErrorNoSpace)
        {
            throw new JobException(JobFailure.WorkFolderFull, "The worker's disk is full; free space in its work folder, then retry the job.", canRetry: true, error);
        }
        catch (Exception error) when (error is not (OperationCanceledException or JobException))
        {
            throw new JobException(JobFailure.Internal, $"A fault of the transcoder: {error.Message}", canRetry: true, error);
        }
    }

    private async Task<(ObjectKey Result, TimeSpan? Encoded)> RunStepsAsync(TranscodeJob job, ProgressReporter progress, Action<JobPhase, double> onProgress, CancellationToken cancellationToken)
    {
        var (ladder, masterKey, manifestKey) = await CheckAsync(job, cancellationToken);

        // 1. known already?
        if (await _results.IsPublishedAsync(manifestKey, cancellationToken))
            return (manifestKey, null);

        using var folder = area.CreateJobFolder();

        // 2. fetch
        using (Phase(JobPhase.Fetch))
            await FetchAsync(job, masterKey, Path.Combine(folder.Path, MasterFile), part => onProgress(JobPhase.Fetch, part), cancellationToken);

        // 3. probe
        EncodePlan plan;
        using (Phase(JobPhase.Probe))
        {
            plan = EncodePlan.Create(ladder, await prober.ProbeAsync(folder.Path, MasterFile, cancellationToken), profile.CanEncodeHeAacV2);
            progress.Probed(plan.Master.Duration);
            CheckSpace(plan.MaxOutputBytes);
        }

        // 4. encode
        EncodedMaster encoded;
        using (Phase(JobPhase.Encode))
            encoded = await encoder.EncodeAsync(folder.Path, MasterFile, plan, part => onProgress(JobPhase.Encode, part), cancellationToken);
        metrics.AudioEncoded(plan.Master.Duration);

        // 5. verify
        IReadOnlyList<VerifiedRendition> verified;
        using (Phase(JobPhase.Verify))
        {
            verified = await verifier.VerifyAsync(
                folder.Path,
                MasterFile,
                plan,
                encoded,
                static () => true,
                cancellationToken);
        }

        // 6. publish
        using (Phase(JobPhase.Publish))
        {
            var set = RenditionSetBuilder.Build(job.MasterSha256, ladder, profile.Id, plan.Master, encoded, verified);
            // Looked up once more after the manifest: a collector of orphans may have removed, just before the manifest named it, an old file that the upload found there.
            for (var pass = 1; pass == 1 || !await _results.IsPublishedAsync(manifestKey, cancellationToken); pass++)
            {
                if (pass > MaxPublishPasses)
                    throw new StoreException(StoreError.Unavailable, $"Files that {manifestKey} names vanish from the store while they are published.");
                await _results.PublishAsync(
                    set, [.. plan.Renditions.Select(r => Path.Combine(folder.Path, r.FileName))], encoded.Waveform.ToBytes(), manifestKey, part => onProgress(JobPhase.Publish, part), cancellationToken);
            }
        }

        return (manifestKey, plan.Master.Duration);

        PhaseTimer Phase(JobPhase phase)
        {
            onProgress(phase, 0);
            return new PhaseTimer(metrics, time, phase);
        }
    }

    private async Task<(Ladder Ladder, ObjectKey MasterKey, ObjectKey ManifestKey)> CheckAsync(TranscodeJob job, CancellationToken cancellationToken)
    {
        if (job.Format != 1)
            throw new JobException(JobFailure.Internal, $"The job has format {job.Format}, this worker knows 1; upgrade the worker.");
        var ladder = await _ladders.FindAsync(job.Ladder, cancellationToken)
            ?? throw new JobException(JobFailure.Internal, $"There is no ladder '{job.Ladder}', neither built in nor in the store; add it with `delivery transcode ladder add`, then retry the job.");
        if (!ObjectKey.TryParse(job.MasterKey, out var masterKey))
            throw new JobException(JobFailure.MasterMissing, $"'{job.MasterKey}' is not an object key; upload the master again.");
        if (job.MasterSha256 is not { Length: 64 } || !job.MasterSha256.All(char.IsAsciiHexDigitLower))
            throw new JobException(JobFailure.Internal, "The job names its master by something that is not a SHA-256.");
        if (job.MasterBytes == 0)
            throw new JobException(JobFailure.EmptyMaster, "The master has no bytes; upload it again.");
        if (job.MasterBytes > options.MaxMasterBytes)
            throw new JobException(JobFailure.LimitExceeded, string.Create(CultureInfo.InvariantCulture, $"The master has {job.MasterBytes:N0} bytes, more than the {options.MaxMasterBytes:N0} that this worker takes; deliver it as FLAC or raise MaxMasterBytes."));
        return (ladder, masterKey, ResultKeys.Manifest(job.MasterSha256, ladder.Name, profile.Id));
    }

    /// <summary>Copies the master and checks its digest; where the reading breaks, it goes on from there.</summary>
    private async Task FetchAsync(TranscodeJob job, ObjectKey key, string file, Action<double> onProgress, CancellationToken cancellationToken)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var copy = new FileStream(file, FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0, FileOptions.Asynchronous);
        var buffer = new byte[CopyBufferBytes];
        long copied = 0;
        for (var breaks = 0; copied < job.MasterBytes;)
        {
            try
            {
                await CopyOnAsync();
            }
            catch (StoreException error) when (error.CanRetry && breaks < MaxFetchBreaks)
            {
                var delay = FetchResumeDelay * Math.Pow(2, breaks++);
                await Task.Delay(delay < MaxFetchResumeDelay ? delay : MaxFetchResumeDelay, time, cancellationToken);
            }
        }

        if (Convert.ToHexStringLower(hash.GetHashAndReset()) is var digest && digest != job.MasterSha256)
            throw Mismatch($"has the SHA-256 {digest}, the catalog says {job.MasterSha256}");

        async Task CopyOnAsync()
        {
            await using var read = await store.OpenReadAsync(key, copied == 0 ? null : new ObjectRange(copied, long.MaxValue), cancellationToken)
                ?? throw new JobException(JobFailure.MasterMissing, $"The master {key} is not in the store; upload it again.");
            if (read.Info.Length != job.MasterBytes)
                throw Mismatch($"has {read.Info.Length} bytes, the catalog says {job.MasterBytes}");
            if (copied == 0)
                CheckSpace(job.MasterBytes);
            int count;
            while ((count = await read.Content.ReadAsync(buffer.AsMemory(0, (int)Math.Min(buffer.Length, job.MasterBytes - copied)), cancellationToken)) > 0)
            {
                await copy.WriteAsync(buffer.AsMemory(0, count), cancellationToken);
                hash.AppendData(buffer.AsSpan(0, count));
                copied += count;
                onProgress((double)copied / job.MasterBytes);
            }

            if (copied != job.MasterBytes)
                throw new StoreException(StoreError.Unavailable, $"{key} ended after {copied} of {job.MasterBytes} bytes.");
        }

        JobException Mismatch(string what) => new(JobFailure.MasterDigestMismatch, $"The master {key} {what}; upload it again.");
    }

    private void CheckSpace(long needed)
    {
        var free = new DriveInfo(area.Folder).AvailableFreeSpace;
        if (free < needed + options.MinFreeBytes)
        {
            throw new JobException(
                JobFailure.WorkFolderFull,
                string.Create(CultureInfo.InvariantCulture, $"The worker's disk has {free:N0} bytes free, this job needs {needed:N0} and {options.MinFreeBytes:N0} to spare; free space in its work folder, then retry the job."),
                canRetry: true);
        }
    }

    private readonly struct PhaseTimer(TranscoderMetrics metrics, TimeProvider time, JobPhase phase) : IDisposable
    {
        private readonly long _started = time.GetTimestamp();

        public void Dispose() => metrics.PhaseEnded(phase, time.GetElapsedTime(_started));
    }
}
