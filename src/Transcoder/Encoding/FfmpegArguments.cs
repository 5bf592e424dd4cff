using System.Globalization;
using System.Text;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;

namespace Delivery.Transcoder.Encoding;

/// <summary>
/// The one ffmpeg command of a master, as a pure function of its plan: decode once, measure, and make every rendition.
/// </summary>
/// <remarks>
/// <code>
/// master ─┬─ ebur128, astats, silencedetect ─▶ null (read from the log)
///         │  (from here on, a float master within full scale)
///         ├─ the master's own PCM ─▶ MD5 (when FLAC can hold it)
///         ├─ stereo, 44.1 kHz, float ─┬─ each lossy rung
///         │                           ├─ excerpt ─ each preview
///         │                           └─ mono, 16 bits ─▶ standard output (waveform)
///         └─ each FLAC rung: as it is, or resampled and dithered
/// </code>
/// Where an encoder gets something else than the master (another rate, a mix, an excerpt), ebur128 measures that too: verification compares with it.
/// Standard output is taken by PCM, so progress is written to standard error, beside the log.
/// </remarks>
internal static class FfmpegArguments
{
    /// <summary>The MD5 of the master's PCM, written by the run.</summary>
    public const string MasterMd5File = "master.md5";

    /// <summary>Instance name of the filters that measure the master.</summary>
    public const string MasterStats = "master";

    // ffmpeg 5.1 knows two words here, and takes every other value for info: ten lines per second of audio and filter, each of which wakes their reader. At
    // the log level of the encode run this is silent.
    private const string NoFrameLog = "verbose";

    // soxr at 28 bits: twice what a 16-bit master holds, and transparent for 24. The internal format is named, because swresample would
    // stay in 16 bits for a 16-bit master, and then neither resample in float nor dither.
    private const string Resampler = "resampler=soxr:precision=28:internal_sample_fmt=fltp";

    // Triangular dither, whose generator in swresample is seeded with a constant: the same noise in every run.
    private const string Dither = "dither_method=triangular";

    // aresample's own stereo-to-mono is 3 dB louder in float, and clips.
    private const string StereoToMono = "pan=mono|c0=0.5*c0+0.5*c1";

    /// <summary>
    /// Cuts off what exceeds full scale. FLAC has to; and each lossy codec would make something else of it: of a tone at +6 dBFS, Vorbis keeps the level,
    /// ffmpeg's AAC encoder takes 6.5 dB away.
    /// </summary>
    public const string ClipFloat = "aresample=out_sample_fmt=s32";

    private static readonly string[] Reproducible = ["-map_metadata", "-1", "-map_metadata:s:a", "-1", "-map_chapters", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"];

    public static IReadOnlyList<string> Build(EncodePlan plan, string masterFile)
    {
        List<string> arguments =
        [
            "-hide_banner", "-nostdin", "-y",
            // Without these three, a truncated FLAC, a lying WAV and a flipped bit all end with exit code 0.
            "-xerror", "-err_detect", "explode+crccheck",
            "-loglevel", "level+info", "-nostats", "-progress", "pipe:2", "-stats_period", "0.5",
            "-max_alloc", "268435456", "-filter_complex_threads", "1", "-threads", "1",
            "-protocol_whitelist", "file,pipe", "-format_whitelist", AcceptedMasters.Containers, "-codec_whitelist", AcceptedMasters.Codecs,
            // A master that goes on after the end that its header names is stopped a second later; how many samples came is counted.
            "-t", FormattableString.Invariant($"{plan.Master.Duration.TotalSeconds + 1:0.######}"),
            "-vn", "-sn", "-dn", "-i", $"file:{masterFile}",
            "-filter_complex", FilterGraph(plan),
            "-map", "[measured]", "-f", "null", "-",
        ];
        if (plan.Master.FitsFlac)
            arguments.AddRange(["-map", "[pcm]", "-c:a", $"pcm_s{plan.Master.BitsPerSample}le", "-f", "md5", $"file:{MasterMd5File}"]);
        arguments.AddRange(["-map", "[waveform]", "-c:a", "pcm_s16le", "-f", "s16le", "pipe:1"]);
        for (var i = 0; i < plan.Renditions.Count; i++)
        {
            arguments.AddRange(["-map", $"[r{i}]", .. Reproducible]);
            arguments.AddRange(Encoder(plan, plan.Renditions[i]));
            arguments.Add($"file:{plan.Renditions[i].FileName}");
        }

        return arguments;
    }

    /// <summary>Instance name of the ebur128 filter whose summary tells the loudness of a feed.</summary>
    public static string LoudnessFilter(EncodePlan plan, Feed feed) =>
        feed == plan.MasterFeed ? MasterStats : $"feed{plan.Renditions.TakeWhile(r => r.Feed != feed).Count()}";

    /// <summary>The ebur128 filter of that name; a single channel is played by two speakers, so its loudness counts both.</summary>
    public static string Loudness(string name, int channels) => $"ebur128@{name}=dualmono={(channels == 1 ? "true" : "false")}:framelog={NoFrameLog}";

    /// <summary>What every lossy rung starts from, out of the master's own samples: stereo at <see cref="Ladder.LossySampleRate"/>.</summary>
    /// <remarks>aresample's own mono-to-stereo is 3 dB quieter.</remarks>
    public static string ToStereo(MasterProbe master) =>
        $"{(master.Channels == 1 ? "pan=stereo|c0=c0|c1=c0," : "")}aresample={Ladder.LossySampleRate}:{Resampler}:out_sample_fmt=fltp";

    /// <summary>At most about 300 fragments, so that a long track's index stays small: 12 bytes per fragment stand before the first sound.</summary>
    internal static long FragmentMicroseconds(EncodePlan plan, Rung rung)
    {
        var seconds = rung.Excerpt && plan.Excerpt is { } cut
            ? (double)(cut.EndSample - cut.StartSample) / Ladder.LossySampleRate
            : plan.Master.Duration.TotalSeconds;
        return Math.Max((rung.FragmentSeconds ?? 1) * 1_000_000L, (long)Math.Ceiling(seconds / 300 * 1000) * 1000);
    }

    private static string FilterGraph(EncodePlan plan)
    {
        var master = plan.Master;
        var indexed = plan.Renditions.Select((rendition, index) => (Rendition: rendition, Index: index)).ToList();
        var flac = indexed.Where(r => r.Rendition.Rung.Codec == RungCodec.Flac).ToList();
        var lossy = indexed.Except(flac).ToList();
        var graph = new StringBuilder();

        List<string> sources = [];
        if (master.FitsFlac)
            sources.Add("pcm0");
        sources.Add("stereo");
        sources.AddRange(flac.Select(f => $"f{f.Index}"));
        if (master.IsFloat)
        {
            Add($"[0:a:0]asplit=2[measure][unclipped]");
            Add($"[unclipped]{ClipFloat},asplit={sources.Count}{Labels(sources)}");
        }
        else
        {
            Add($"[0:a:0]asplit={sources.Count + 1}[measure]{Labels(sources)}");
        }

        Add($"[measure]{Loudness(MasterStats, master.Channels)}:peak=true+sample,astats@{MasterStats}=measure_perchannel=all,silencedetect=n=-60dB:d=2[measured]");
        if (master.FitsFlac)
            Add("[pcm0]anull[pcm]");

        List<string> copies = ["wave", .. lossy.Select(l => $"l{l.Index}")];
        Add($"[stereo]{ToStereo(master)},asplit={copies.Count}{Labels(copies)}");
        Add($"[wave]{StereoToMono},aformat=sample_fmts=s16[waveform]");
        foreach (var (rendition, index) in lossy)
            AddRendition($"[l{index}]{LossyChain(plan, rendition)}", rendition, index);
        foreach (var (rendition, index) in flac)
            AddRendition($"[f{index}]{FlacChain(master, rendition)}", rendition, index);
        return graph.ToString();

        void AddRendition(string chain, PlannedRendition rendition, int index)
        {
            var filter = LoudnessFilter(plan, rendition.Feed);
            if (filter != $"feed{index}")
            {
                Add($"{chain}[r{index}]");
                return;
            }

            // On a branch of its own: ebur128 works in double precision, and the encoder must get what it got without it.
            Add($"{chain},asplit=2[r{index}][m{index}]");
            Add($"[m{index}]{Loudness(filter, rendition.Channels)},anullsink");
        }

        void Add(string chain) => graph.Append(graph.Length == 0 ? "" : ";").Append(chain);
        static string Labels(IEnumerable<string> names) => string.Concat(names.Select(n => $"[{n}]"));
    }

    /// <summary>From stereo at <see cref="Ladder.LossySampleRate"/> to what the rung's encoder gets.</summary>
    public static string LossyChain(EncodePlan plan, PlannedRendition rendition)
    {
        List<string> filters = [];
        if (rendition.Rung.Excerpt && plan.Excerpt is { } cut)
        {
            var fade = cut.FadeMilliseconds * (long)Ladder.LossySampleRate / 1000;
            filters.Add($"atrim=start_sample={cut.StartSample}:end_sample={cut.EndSample}");
            filters.Add("asetpts=PTS-STARTPTS");
            if (fade > 0 && cut.FadesIn)
                filters.Add($"afade=t=in:ss=0:ns={fade}");
            if (fade > 0 && cut.FadesOut)
                filters.Add($"afade=t=out:ss={cut.EndSample - cut.StartSample - fade}:ns={fade}");
        }

        if (rendition.Channels == 1)
            filters.Add(StereoToMono);
        if (rendition.SampleRate != Ladder.LossySampleRate)
            filters.Add($"aresample={rendition.SampleRate}:{Resampler}:out_sample_fmt=fltp");
        return filters.Count == 0 ? "anull" : string.Join(',', filters);
    }

    private static string FlacChain(MasterProbe master, PlannedRendition rendition)
    {
        // Dither only where precision is lost: the samples of a 16/44.1 master pass through bit by bit.
        if (rendition.IsMastersPcm)
            return "anull";
        return rendition.BitsPerSample == 16
            ? $"aresample={rendition.SampleRate}:{Resampler}:{Dither}:out_sample_fmt=s16"
            : $"aresample={rendition.SampleRate}:{Resampler}:{Dither}:out_sample_fmt=s32:output_sample_bits=24";
    }

    private static IEnumerable<string> Encoder(EncodePlan plan, PlannedRendition rendition)
    {
        var rung = rendition.Rung;
        var bitrate = rung.Bitrate?.ToString(CultureInfo.InvariantCulture) ?? "";
        switch (rung.Codec)
        {
            case RungCodec.Vorbis:
                // 100 ms pages: the first sound within 5 to 8 KB instead of 14 to 37, for 1 to 3 % of size.
                return ["-c:a", "libvorbis", "-b:a", bitrate, "-page_duration", "100000", "-f", "ogg"];
            case RungCodec.Aac or RungCodec.HeAacV2:
                string[] encoder = rung.Codec == RungCodec.Aac ? ["-c:a", "aac"] : ["-c:a", "libfdk_aac", "-profile:a", "aac_he_v2"];
                return
                [
                    .. encoder, "-b:a", bitrate,
                    // delay_moov is what makes ffmpeg write the edit list of the priming samples; the default time scale (1/1000 s) would cut it short.
                    "-movflags", "+delay_moov+default_base_moof+global_sidx", "-use_editlist", "1",
                    "-movie_timescale", rendition.SampleRate.ToString(CultureInfo.InvariantCulture),
                    "-frag_duration", FragmentMicroseconds(plan, rung).ToString(CultureInfo.InvariantCulture), "-f", "mp4",
                ];
            default:
                string[] format = rendition.BitsPerSample == 16 ? ["-sample_fmt", "s16"] : ["-sample_fmt", "s32", "-bits_per_raw_sample", "24"];
                return
                [
                    "-c:a", "flac", .. format, "-compression_level", (rung.CompressionLevel ?? 5).ToString(CultureInfo.InvariantCulture),
                    // ffmpeg's own blocks for high rates are four times as long, and so is the way to the first sound. Above 96 kHz 4,096 costs 12 % of size.
                    "-frame_size", rendition.SampleRate > 96_000 ? "8192" : "4096", "-metadata_header_padding", "0", "-f", "flac",
                ];
        }
    }
}
