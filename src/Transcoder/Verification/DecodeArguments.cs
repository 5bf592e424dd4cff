using System.Globalization;
using System.Text.RegularExpressions;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Probing;

namespace Delivery.Transcoder.Verification;

/// <summary>One ffmpeg run that decodes many renditions to nothing, and how many samples it says each gave; and one that compares some below a frequency.</summary>
internal static partial class DecodeArguments
{
    private static readonly string[] Common = ["-hide_banner", "-nostdin", "-loglevel", "level+verbose", "-nostats", "-progress", "pipe:1", "-stats_period", "0.5", "-max_alloc", "268435456"];

    /// <summary>Decodes whole files, strictly: the first damage ends the run. Measures the loudness of those that <see cref="Filter"/> names.</summary>
    public static IReadOnlyList<string> Whole(IReadOnlyList<PlannedRendition> renditions)
    {
        List<string> arguments = [.. Common, "-xerror"];
        foreach (var rendition in renditions)
            AddInput(arguments, rendition.FileName, strict: true);
        for (var i = 0; i < renditions.Count; i++)
        {
            arguments.AddRange(["-map", FormattableString.Invariant($"{i}:a:0")]);
            // The samples of a FLAC file that has the master's are as loud as the master.
            if (!renditions[i].IsMastersPcm)
                arguments.AddRange(["-filter:a", FfmpegArguments.Loudness(Filter(i), renditions[i].Channels)]);
            arguments.AddRange(["-f", "null", "-"]);
        }

        return arguments;
    }

    /// <summary>Decodes what it can of files that are damaged by nature, because they are prefixes.</summary>
    public static IReadOnlyList<string> Prefixes(IReadOnlyList<string> files)
    {
        List<string> arguments = [.. Common];
        foreach (var file in files)
            AddInput(arguments, file, strict: false);
        for (var i = 0; i < files.Count; i++)
            arguments.AddRange(["-map", FormattableString.Invariant($"{i}:a:0"), "-f", "null", "-"]);
        return arguments;
    }

    /// <summary>Measures lossy renditions, and what their encoders were given, below <see cref="LoudnessBound.BandHz"/>.</summary>
    public static IReadOnlyList<string> InBand(EncodePlan plan, string masterFile, IReadOnlyList<PlannedRendition> renditions)
    {
        // Six poles each way: what the codec drops lies at the other end of the spectrum.
        var band = string.Join(',', Enumerable.Repeat($"lowpass=f={LoudnessBound.BandHz}:p=2", 3));
        List<string> arguments =
        [
            .. Common, "-xerror", "-filter_complex_threads", "1", "-threads", "1",
            "-protocol_whitelist", "file,pipe", "-format_whitelist", AcceptedMasters.Containers, "-codec_whitelist", AcceptedMasters.Codecs,
            "-vn", "-sn", "-dn", "-i", $"file:{masterFile}",
        ];
        var graph = new List<string> { $"[0:a:0]{(plan.Master.IsFloat ? FfmpegArguments.ClipFloat + "," : "")}{FfmpegArguments.ToStereo(plan.Master)},asplit={renditions.Count}{string.Concat(renditions.Select((_, i) => $"[f{i}]"))}" };
        for (var i = 0; i < renditions.Count; i++)
        {
            AddInput(arguments, renditions[i].FileName, strict: true);
            graph.Add($"[f{i}]{FfmpegArguments.LossyChain(plan, renditions[i])},{band},{FfmpegArguments.Loudness(FedFilter(i), renditions[i].Channels)},anullsink");
            graph.Add($"[{i + 1}:a:0]{band},{FfmpegArguments.Loudness(Filter(i), renditions[i].Channels)}[o{i}]");
        }

        arguments.AddRange(["-filter_complex", string.Join(';', graph)]);
        for (var i = 0; i < renditions.Count; i++)
            arguments.AddRange(["-map", $"[o{i}]", "-f", "null", "-"]);
        return arguments;
    }

    /// <summary>Name of the filter that measures a rendition.</summary>
    public static string Filter(int index) => $"out{index}";

    /// <summary>Name of the filter that measures what a rendition's encoder was given.</summary>
    public static string FedFilter(int index) => $"fed{index}";

    /// <summary>Reads a log line such as <c>Output stream #3:0 (audio): 537 frames encoded (544441 samples)</c>.</summary>
    public static bool TryReadCount(string line, out int output, out long samples)
    {
        var match = CountPattern.Match(line);
        (output, samples) = match.Success
            ? (int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture), long.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture))
            : default;
        return match.Success;
    }

    private static void AddInput(List<string> arguments, string file, bool strict)
    {
        // The demuxer is named: we wrote the file, and what it is must not be guessed.
        var format = Path.GetExtension(file) switch { ".ogg" => "ogg", ".flac" => "flac", _ => "mov" };
        arguments.AddRange(["-threads", "1", "-protocol_whitelist", "file,pipe"]);
        if (strict)
            arguments.AddRange(["-err_detect", "explode+crccheck"]);
        arguments.AddRange(["-f", format, "-i", $"file:{file}"]);
    }

    [GeneratedRegex(@"^\[verbose\]\s+Output stream #(\d{1,3}):0 \(audio\): \d+ frames encoded \((\d{1,15}) samples\)", RegexOptions.CultureInvariant)]
    private static partial Regex CountPattern { get; }
}
