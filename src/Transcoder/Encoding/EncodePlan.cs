using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;

namespace Delivery.Transcoder.Encoding;

/// <summary>What one ffmpeg run makes of one master: a pure function of ladder, master and what the ffmpeg can encode.</summary>
internal sealed record EncodePlan(MasterProbe Master, IReadOnlyList<PlannedRendition> Renditions, Excerpt? Excerpt)
{
    /// <summary>Raw PCM bytes per sample and channel, as the largest bound of a FLAC file (verbatim frames) plus 1 %.</summary>
    private const double FlacOverhead = 1.01;

    /// <summary>Rungs become renditions: those that do not apply to this master are left out, those that cannot be encoded here fall back.</summary>
    public static EncodePlan Create(Ladder ladder, MasterProbe master, bool canEncodeHeAacV2)
    {
        var cut = ladder.Preview is { } preview && ladder.Rungs.Any(r => r.Excerpt) ? Excerpt.Of(preview, master) : null;
        var renditions = new List<PlannedRendition>();
        foreach (var asked in ladder.Rungs)
        {
            var rung = asked.Codec == RungCodec.HeAacV2 && !canEncodeHeAacV2 ? asked.Fallback! : asked;
            // The same file as the lossless rung.
            if (rung.KeepsMaster && master is { SampleRate: <= 44_100, BitsPerSample: <= 16 })
                continue;
            var isFlac = rung.Codec == RungCodec.Flac;
            var rate = rung.SampleRate ?? (isFlac ? master.SampleRate : Ladder.LossySampleRate);
            var channels = isFlac ? master.Channels : rung.Channels ?? 2;
            renditions.Add(new PlannedRendition
            {
                Rung = rung,
                Feed = new Feed(rung.Excerpt && cut is not null, rate, channels < master.Channels, master.IsFloat),
                FileName = $"r{renditions.Count:D2}.{Extension(rung.Codec)}",
                SampleRate = rate,
                Channels = channels,
                BitsPerSample = isFlac ? rung.BitsPerSample ?? Math.Min(master.BitsPerSample, 24) : null,
                IsMastersPcm = isFlac && master.FitsFlac && rate == master.SampleRate && (rung.BitsPerSample ?? master.BitsPerSample) == master.BitsPerSample,
            });
        }

        return new EncodePlan(master, renditions, cut);
    }

    /// <summary>What the master itself is.</summary>
    public Feed MasterFeed => new(false, Master.SampleRate, false, false);

    /// <summary>Largest sum of the outputs in bytes: what must be free before encoding.</summary>
    public long MaxOutputBytes => Renditions.Sum(r => r.Rung.Bitrate is { } bitrate
        ? (long)(bitrate / 8.0 * Math.Max(1, Master.Duration.TotalSeconds) * 1.25) + 65_536
        : (long)(Master.Duration.TotalSeconds * r.SampleRate * r.Channels * r.BitsPerSample!.Value / 8 * FlacOverhead) + 65_536);

    private static string Extension(RungCodec codec) => codec switch
    {
        RungCodec.Vorbis => "ogg",
        RungCodec.Flac => "flac",
        _ => "m4a",
    };
}

/// <summary>One output of the run.</summary>
internal sealed record PlannedRendition
{
    public required Rung Rung { get; init; }

    /// <summary>What its encoder is given.</summary>
    public required Feed Feed { get; init; }

    /// <summary>Generated, never from the master; lives in the job's folder.</summary>
    public required string FileName { get; init; }

    public required int SampleRate { get; init; }

    public required int Channels { get; init; }

    public int? BitsPerSample { get; init; }

    /// <summary>Whether its decoded samples must be exactly the master's.</summary>
    public required bool IsMastersPcm { get; init; }
}

/// <summary>
/// What an encoder is given, as far as it changes the loudness: renditions of one feed must sound as loud as each other. Mono beside stereo of the
/// same sound is no difference, because two speakers play it.
/// </summary>
/// <param name="Excerpt">Cut from the track.</param>
/// <param name="SampleRate">Hz: what lies above half of it is gone.</param>
/// <param name="IsMix">Both channels of a stereo master in one.</param>
/// <param name="IsClipped">A float master within full scale: what exceeds it is cut off.</param>
internal readonly record struct Feed(bool Excerpt, int SampleRate, bool IsMix, bool IsClipped);

/// <summary>The preview's samples at <see cref="Ladder.LossySampleRate"/>, cut before the lossy encoders; null bounds of a fade mean that nothing is cut there.</summary>
internal sealed record Excerpt(long StartSample, long EndSample, int FadeMilliseconds, bool FadesIn, bool FadesOut)
{
    /// <summary>
    /// Starts at the fraction, no later than the ladder says, so early that the whole excerpt fits, on a whole second. A track no longer than the
    /// excerpt is taken whole.
    /// </summary>
    public static Excerpt? Of(PreviewCut cut, MasterProbe master)
    {
        var duration = master.Duration.TotalSeconds;
        if (duration <= cut.Seconds)
            return null;
        var start = (long)Math.Floor(Math.Min(Math.Min(duration * cut.StartFraction, cut.LatestStartSeconds), duration - cut.Seconds));
        var startSample = start * Ladder.LossySampleRate;
        return new Excerpt(startSample, startSample + ((long)cut.Seconds * Ladder.LossySampleRate), cut.FadeMilliseconds, start > 0, true);
    }
}
