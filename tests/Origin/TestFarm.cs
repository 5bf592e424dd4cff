using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Delivery.ObjectStore;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.Waveforms;

namespace Delivery.Origin.Tests;

/// <summary>
/// A worker in the test's hands: takes jobs from the real queue, checks the master as a worker does, puts real small objects and a real result
/// into the store, and reports. What ffmpeg makes of a master is the transcoder's tests' matter.
/// </summary>
internal sealed class TestFarm(IObjectStore store, IJobQueue queue)
{
    public static readonly (string Quality, string Codec, int Rate, double Seconds)[] FullLadder =
    [
        ("low", "aac", 24_000, 20), ("normal", "vorbis", 96_000, 20), ("normal", "aac", 96_000, 20), ("high", "vorbis", 160_000, 20),
        ("high", "aac", 160_000, 20), ("veryhigh", "vorbis", 320_000, 20), ("veryhigh", "aac", 320_000, 20), ("lossless", "flac", 900_000, 20),
        ("hires", "flac", 2_500_000, 20), ("preview", "vorbis", 96_000, 5), ("preview", "aac", 96_000, 5),
    ];

    public Task<JobDelivery> TakeAsync() => queue.ReceiveAsync(TestContext.Current.CancellationToken).AsTask().WaitAsync(Until.Limit);

    /// <summary>The whole of a worker's part for the next job.</summary>
    public async Task<RenditionSet> FinishNextAsync((string, string, int, double)[]? ladder = null)
    {
        var delivery = await TakeAsync();
        var set = await WorkAsync(delivery.Job, ladder);
        await DoneAsync(delivery.Job);
        await delivery.CompleteAsync(default);
        return set;
    }

    /// <summary>Puts renditions and result; the same master gives the same bytes.</summary>
    public async Task<RenditionSet> WorkAsync(TranscodeJob job, (string, string, int, double)[]? ladder = null)
    {
        var master = await store.OpenReadAsync(ObjectKey.Parse(job.MasterKey), null, default);
        Assert.NotNull(master);
        await using (master)
        {
            Assert.Equal(job.MasterBytes, master.Length);
            Assert.Equal(job.MasterSha256, Convert.ToHexStringLower(await SHA256.HashDataAsync(master.Content)));
        }

        var renditions = new List<Rendition>();
        foreach (var (quality, codec, rate, seconds) in ladder ?? FullLadder)
        {
            var bytes = Encoding.UTF8.GetBytes($"{job.MasterSha256} {quality} {codec} {rate} {new string('x', 300)}");
            var rendition = Describe(quality, codec, rate, seconds, bytes);
            renditions.Add(rendition);
            await store.WriteAsync(ObjectKey.Parse(rendition.Key), new MemoryStream(bytes), new ObjectWrite { ContentType = rendition.ContentType }, default);
        }

        var waveform = Waveform.Of(44_100, 1024, new byte[] { 0xf6, 20, 0x80, 127 }).ToBytes();
        var set = new RenditionSet
        {
            MasterSha256 = job.MasterSha256,
            Ladder = job.Ladder,
            Encoder = "test-1",
            Master = new MasterFacts("flac", "flac", 44_100, 16, 2, 882_000),
            Loudness = new Loudness(-14.2, 6.1, -1.3),
            Report = new QualityReport
            {
                SamplePeakDbfs = -1.5,
                UsedBits = 16,
                Channels = [new ChannelReport(-1.5, -18.2, 0.00001, 1, 0), new ChannelReport(-84.3, -91, 0, 2, 0)],
                IdenticalChannels = false,
                Silences = [new Silence(0, 3.25)],
            },
            Waveform = new WaveformFacts(waveform.Length, Convert.ToHexStringLower(SHA256.HashData(waveform)), 44_100, 1024, 2),
            Renditions = renditions,
        };
        await store.WriteAsync(ResultKeys.Waveform(ObjectKey.Parse(ResultKey(job))), new MemoryStream(waveform), new ObjectWrite { ContentType = Waveform.ContentType }, default);
        await store.WriteAsync(ObjectKey.Parse(ResultKey(job)), new MemoryStream(JsonSerializer.SerializeToUtf8Bytes(set, ResultJson.Default.RenditionSet)),
            new ObjectWrite { ContentType = "application/json" }, default);
        return set;
    }

    /// <summary>A backfill's jobs make other bytes than the ladder before.</summary>
    public static readonly (string, string, int, double)[] RadioLadder = [("normal", "vorbis", 64_000, 20)];

    public ValueTask DoneAsync(TranscodeJob job) => queue.ReportAsync(new JobReport
    {
        JobId = job.JobId,
        TrackId = job.TrackId,
        Phase = JobPhase.Done,
        Progress = 1,
        ResultKey = ResultKey(job),
    }, default);

    public ValueTask FailAsync(TranscodeJob job, JobFailure failure, string message) => queue.ReportAsync(new JobReport
    {
        JobId = job.JobId,
        TrackId = job.TrackId,
        Phase = JobPhase.Failed,
        Failure = failure,
        Message = message,
        At = DateTimeOffset.UnixEpoch,
    }, default);

    public ValueTask ProgressAsync(TranscodeJob job, JobPhase phase, double progress) => queue.ReportAsync(new JobReport
    {
        JobId = job.JobId,
        TrackId = job.TrackId,
        Phase = phase,
        Progress = progress,
        Attempt = 2,
        SecondsLeft = 12.5,
        Worker = "worker-1",
        At = DateTimeOffset.UnixEpoch,
    }, default);

    public static string ResultKey(TranscodeJob job) => $"catalog/renditions/{job.MasterSha256}/{job.Ladder}-test-1.json";

    private static Rendition Describe(string quality, string codec, int rate, double seconds, byte[] bytes)
    {
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes));
        var (extension, type, codecString) = codec switch
        {
            "vorbis" => ("ogg", "audio/ogg", "vorbis"),
            "aac" => ("m4a", "audio/mp4", "mp4a.40.2"),
            _ => ("flac", "audio/flac", "flac"),
        };
        return new Rendition
        {
            Quality = quality,
            Codec = codec,
            CodecString = codecString,
            FileId = sha256[..40],
            Extension = extension,
            ContentType = type,
            Bytes = bytes.Length,
            Bitrate = rate,
            SampleRate = 44_100,
            Channels = 2,
            Gapless = new Gapless(codec == "aac" ? 1024 : 0, 100, (long)(seconds * 44_100)),
            FirstSoundBytes = 200,
            Sha256 = sha256,
            ChunkSha256 = [sha256],
            TimeMap = [new TimePoint(0, 0), new TimePoint(200, 1000)],
        };
    }
}
