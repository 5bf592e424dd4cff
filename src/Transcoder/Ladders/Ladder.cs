using System.Text.Json;
using System.Text.RegularExpressions;

namespace Delivery.Transcoder.Ladders;

/// <summary>
/// The rungs that every master becomes: immutable data with its version in its name, so that a rendition's manifest says for ever how it
/// was made. A change is a new name. Format: docs/formats/ladder.md.
/// </summary>
public sealed partial record Ladder
{
    /// <summary>More would make one ffmpeg run exceed the cage's open files.</summary>
    public const int MaxRungs = 24;

    /// <summary>What the lossy rungs are made at, whatever the master's rate.</summary>
    public const int LossySampleRate = 44_100;

    /// <summary>The qualities that players know.</summary>
    public static readonly IReadOnlyList<string> Qualities = ["low", "normal", "high", "veryhigh", "lossless", "hires", "preview"];

    private static readonly Lazy<Ladder> LazyDefault = new(ReadDefault);

    public int Format { get; init; }

    /// <summary>Lower-case words and a version, for example <c>default-1</c>.</summary>
    public string Name { get; init; } = "";

    /// <summary>Where excerpts are cut; null when no rung is one.</summary>
    public PreviewCut? Preview { get; init; }

    public IReadOnlyList<Rung> Rungs { get; init; } = [];

    /// <summary>The built-in ladder, <c>default-1</c>.</summary>
    public static Ladder Default => LazyDefault.Value;

    /// <summary>Whether a text can be a ladder's name: lower-case words and a version, up to 64 characters.</summary>
    public static bool IsName(string? text) => text is { Length: <= 64 } && NamePattern.IsMatch(text);

    /// <exception cref="LadderException">Lists every problem.</exception>
    public static Ladder Parse(ReadOnlySpan<byte> utf8Json)
    {
        Ladder? ladder;
        try
        {
            ladder = JsonSerializer.Deserialize(utf8Json, LadderJson.Default.Ladder);
        }
        catch (JsonException error)
        {
            throw new LadderException([$"It is not JSON of a ladder: {error.Message}"]);
        }

        if (ladder is null)
            throw new LadderException(["It is null."]);
        var problems = Problems(ladder);
        return problems.Count == 0 ? ladder : throw new LadderException(problems);
    }

    /// <summary>The one form of this ladder in JSON: two ladders are the same if it is the same.</summary>
    public byte[] ToJson() => JsonSerializer.SerializeToUtf8Bytes(this, LadderJson.Default.Ladder);

    private static Ladder ReadDefault()
    {
        using var stream = typeof(Ladder).Assembly.GetManifestResourceStream("ladders/default-1.json")!;
        using var memory = new MemoryStream();
        stream.CopyTo(memory);
        return Parse(memory.ToArray());
    }

    private static List<string> Problems(Ladder ladder)
    {
        var problems = new List<string>();
        Check(ladder.Format == 1, $"format is {ladder.Format}; accepted: 1.");
        Check(IsName(ladder.Name), $"name is '{ladder.Name}'; accepted: lower-case words and a version, such as default-1, up to 64 characters.");
        Check(ladder.Rungs is { Count: >= 1 and <= MaxRungs }, $"rungs: there are {ladder.Rungs?.Count ?? 0}; accepted: 1 to {MaxRungs}.");
        Check(ladder.Rungs?.Contains(null!) != true, "rungs: one is null.");
        var rungs = ladder.Rungs?.Where(r => r is not null).ToList() ?? [];
        foreach (var same in rungs.GroupBy(r => (r.Quality, r.Codec)).Where(g => g.Count() > 1))
            problems.Add($"rungs: {same.Key.Quality} {same.Key.Codec} is there {same.Count()} times; a quality has each codec once.");
        if (rungs.Any(r => r.Excerpt))
            Check(ladder.Preview is not null, "preview is missing, and a rung is an excerpt.");
        if (ladder.Preview is { } cut)
        {
            Check(cut.Seconds is >= 1 and <= 90, $"preview.seconds is {cut.Seconds}; accepted: 1 to 90.");
            Check(cut.StartFraction is >= 0 and <= 1, FormattableString.Invariant($"preview.startFraction is {cut.StartFraction}; accepted: 0 to 1."));
            Check(cut.LatestStartSeconds is >= 0 and <= 600, $"preview.latestStartSeconds is {cut.LatestStartSeconds}; accepted: 0 to 600.");
            Check(cut.FadeMilliseconds is >= 0 and <= 2000 && cut.FadeMilliseconds * 2 <= cut.Seconds * 1000, $"preview.fadeMilliseconds is {cut.FadeMilliseconds}; accepted: 0 to 2000, and no more than half the excerpt.");
        }

        for (var i = 0; i < rungs.Count; i++)
            CheckRung(rungs[i], $"rungs[{i}]");
        return problems;

        void CheckRung(Rung rung, string at)
        {
            Check(Qualities.Contains(rung.Quality), $"{at}.quality is '{rung.Quality}'; accepted: {string.Join(", ", Qualities)}.");
            Check(Enum.IsDefined(rung.Codec), $"{at}.codec is not known.");
            var lossy = rung.Codec != RungCodec.Flac;
            var mp4 = rung.Codec is RungCodec.Aac or RungCodec.HeAacV2;
            Check(lossy ? rung.Bitrate is >= 8_000 and <= 512_000 : rung.Bitrate is null, $"{at}.bitrate is {rung.Bitrate}; accepted: {(lossy ? "8000 to 512000" : "none, FLAC has no bit rate")}.");
            Check(rung.SampleRate is null or 22_050 or 44_100 or 48_000, $"{at}.sampleRate is {rung.SampleRate}; accepted: 22050, 44100, 48000 or none.");
            Check(rung.Channels is null or 1 or 2 && (lossy || rung.Channels is null), $"{at}.channels is {rung.Channels}; accepted: {(lossy ? "1, 2 or none" : "none, FLAC keeps the master's")}.");
            Check(rung.BitsPerSample is null || (!lossy && rung.BitsPerSample is 16 or 24), $"{at}.bitsPerSample is {rung.BitsPerSample}; accepted: {(lossy ? "none" : "16, 24 or none")}.");
            Check(lossy || rung.SampleRate is null == rung.BitsPerSample is null, $"{at}: sampleRate and bitsPerSample of a FLAC rung are either both given or both the master's.");
            Check(rung.CompressionLevel is null || (!lossy && rung.CompressionLevel is >= 0 and <= 12), $"{at}.compressionLevel is {rung.CompressionLevel}; accepted: {(lossy ? "none" : "0 to 12 or none")}.");
            Check(rung.FragmentSeconds is null || (mp4 && rung.FragmentSeconds is >= 1 and <= 10), $"{at}.fragmentSeconds is {rung.FragmentSeconds}; accepted: {(mp4 ? "1 to 10 or none" : "none")}.");
            Check(!rung.Excerpt || lossy, $"{at}.excerpt: a FLAC rung cannot be an excerpt.");
            Check(rung.Excerpt == rung.Quality is "preview", $"{at}.excerpt is {(rung.Excerpt ? "true" : "false")}; the quality preview is an excerpt, and no other is.");
            Check(rung.Codec != RungCodec.HeAacV2 || rung.Fallback is not null, $"{at}.fallback is missing: few builds of ffmpeg can encode HE-AAC v2.");
            if (rung.Fallback is { } fallback)
            {
                Check(rung.Codec == RungCodec.HeAacV2, $"{at}.fallback: only HE-AAC v2 has one.");
                Check(fallback.Codec != RungCodec.HeAacV2, $"{at}.fallback.codec is HeAacV2; accepted: any other.");
                Check(fallback.Quality == rung.Quality, $"{at}.fallback.quality is '{fallback.Quality}'; accepted: {rung.Quality}, as the rung's.");
                if (fallback.Codec != RungCodec.HeAacV2)
                    CheckRung(fallback, $"{at}.fallback");
            }
        }

        void Check(bool good, string problem)
        {
            if (!good)
                problems.Add(problem);
        }
    }

    [GeneratedRegex("^[a-z0-9]+(-[a-z0-9]+)*-[0-9]+\\z", RegexOptions.CultureInvariant)]
    private static partial Regex NamePattern { get; }
}
