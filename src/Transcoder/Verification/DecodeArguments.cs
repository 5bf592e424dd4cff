using System.Globalization;
using System.Text.RegularExpressions;

namespace Delivery.Transcoder.Verification;

/// <summary>One ffmpeg run that decodes many renditions to nothing, and how many samples it says each gave.</summary>
internal static partial class DecodeArguments
{
    /// <param name="files">Names in the job's folder.</param>
    /// <param name="strict">Whether the first damage ends the run; prefixes of files are damaged by nature.</param>
    public static IReadOnlyList<string> Build(IReadOnlyList<string> files, bool strict)
    {
        List<string> arguments = ["-hide_banner", "-nostdin", "-loglevel", "level+verbose", "-nostats", "-progress", "pipe:1", "-stats_period", "0.5", "-max_alloc", "268435456"];
        if (strict)
            arguments.Add("-xerror");
        foreach (var file in files)
        {
            // The demuxer is named: we wrote the file, and what it is must not be guessed.
            var format = Path.GetExtension(file) switch { ".ogg" => "ogg", ".flac" => "flac", _ => "mov" };
            arguments.AddRange(["-threads", "1", "-protocol_whitelist", "file,pipe"]);
            if (strict)
                arguments.AddRange(["-err_detect", "explode+crccheck"]);
            arguments.AddRange(["-f", format, "-i", $"file:{file}"]);
        }

        for (var i = 0; i < files.Count; i++)
            arguments.AddRange(["-map", FormattableString.Invariant($"{i}:a:0"), "-f", "null", "-"]);
        return arguments;
    }

    /// <summary>Reads a log line such as <c>Output stream #3:0 (audio): 537 frames encoded (544441 samples)</c>.</summary>
    public static bool TryReadCount(string line, out int output, out long samples)
    {
        var match = CountPattern.Match(line);
        (output, samples) = match.Success
            ? (int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture), long.Parse(match.Groups[2].ValueSpan, CultureInfo.InvariantCulture))
            : default;
        return match.Success;
    }

    [GeneratedRegex(@"^\[verbose\]\s+Output stream #(\d{1,3}):0 \(audio\): \d+ frames encoded \((\d{1,15}) samples\)", RegexOptions.CultureInvariant)]
    private static partial Regex CountPattern { get; }
}
