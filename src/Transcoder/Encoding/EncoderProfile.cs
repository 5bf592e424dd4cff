using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.Tools;
using Delivery.Transcoder.Verification;

namespace Delivery.Transcoder.Encoding;

/// <summary>
/// What this machine's tools make. Found by making the whole ladder of a small reference master at start, verified as every job's: so a missing
/// encoder is known before the first job, and the id changes whenever the bytes would, be it by ffmpeg, by a library that it does not name
/// (libvorbis, soxr), by the CPU or by our own arguments.
/// </summary>
/// <param name="Id">For example <c>ffmpeg-5.1.9-1a2b3c4d</c>.</param>
/// <param name="CanEncodeHeAacV2">Whether libfdk_aac is there and its output passes verification.</param>
internal sealed partial record EncoderProfile(string Id, bool CanEncodeHeAacV2)
{
    private const string ReferenceFile = "master";

    /// <exception cref="ToolsMissingException">The tools are there and cannot make the ladder.</exception>
    public static async Task<EncoderProfile> DetectAsync(ToolSet tools, ToolCage cage, TranscoderOptions options, WorkArea area, CancellationToken cancellationToken)
    {
        using var folder = area.CreateJobFolder();
        await File.WriteAllBytesAsync(Path.Combine(folder.Path, ReferenceFile), ReferenceMaster(), cancellationToken);
        var version = await AskAsync(tools.Ffmpeg, "-version");
        var encoders = await AskAsync(tools.Ffmpeg, "-hide_banner", "-encoders");
        var reference = encoders.Contains(" libfdk_aac ", StringComparison.Ordinal) ? await TryEncodeAsync(true) : null;
        var canEncodeHeAacV2 = reference is not null;
        try
        {
            reference ??= await EncodeAsync(false);
        }
        catch (JobException error)
        {
            throw new ToolsMissingException([], $"The installed ffmpeg ({FirstLine(version)}) and flac cannot make the ladder: {error.Message} On Debian: apt-get install ffmpeg flac");
        }

        var digest = Convert.ToHexStringLower(SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(reference)))[..8];
        var number = VersionPattern.Match(version) is { Success: true } match ? match.Groups[1].Value : "unknown";
        return new EncoderProfile($"ffmpeg-{number}-{digest}", canEncodeHeAacV2);

        async Task<string?> TryEncodeAsync(bool heAacV2)
        {
            try
            {
                return await EncodeAsync(heAacV2);
            }
            catch (JobException)
            {
                return null; // Listed but unusable: the fallback is made instead, and the id says so by its digest.
            }
        }

        // Everything that decides the bytes: versions, arguments, and the bytes themselves with their manifest.
        async Task<string> EncodeAsync(bool heAacV2)
        {
            var probe = await new Prober(tools, cage, options).ProbeAsync(folder.Path, ReferenceFile, cancellationToken);
            var plan = EncodePlan.Create(Ladder.Default, probe, heAacV2);
            var encoded = await new Encoder(tools, cage, options).EncodeAsync(folder.Path, ReferenceFile, plan, _ => { }, cancellationToken);
            var verified = await new Verifier(tools, cage, options).VerifyAsync(folder.Path, ReferenceFile, plan, encoded, () => true, cancellationToken);
            var set = RenditionSetBuilder.Build("reference", Ladder.Default, "reference", probe, encoded, verified);
            return string.Join('\n', [version, .. FfmpegArguments.Build(plan, ReferenceFile), .. Prober.LossyDecodeArguments(ReferenceFile, probe), JsonSerializer.Serialize(set, ResultJson.Default.RenditionSet)]);
        }

        async Task<string> AskAsync(string tool, params string[] arguments)
        {
            var output = new StringBuilder();
            var outcome = await cage.RunAsync(
                new ToolRun
                {
                    Tool = tool,
                    Arguments = arguments,
                    Folder = folder.Path,
                    MemoryBytes = options.ToolMemoryBytes,
                    MaxFileBytes = 0,
                    TimeLimit = options.MinTimeLimit,
                    KillGrace = options.KillGrace,
                    OnOutput = line =>
                    {
                        output.AppendLine(line);
                        return true;
                    },
                },
                cancellationToken);
            return outcome.Succeeded
                ? output.ToString()
                : throw new ToolsMissingException([Path.GetFileName(tool)], $"{tool} does not run ({ToolFailures.Quote(outcome)}). On Debian: apt-get install --reinstall ffmpeg flac");
        }
    }

    private static string FirstLine(string text) => text.Split('\n')[0].Trim();

    /// <summary>1.2 s of 24-bit stereo at 48 kHz: a glide and noise, so that every stage (resampler, dither, both channels) has work to show.</summary>
    private static byte[] ReferenceMaster()
    {
        const int Rate = 48_000, Frames = 57_600, FrameBytes = 6;
        var wav = new byte[44 + (Frames * FrameBytes)];
        "RIFF"u8.CopyTo(wav);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(4), wav.Length - 8);
        "WAVEfmt "u8.CopyTo(wav.AsSpan(8));
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(16), 16);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(20), 1); // PCM
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(22), 2);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(24), Rate);
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(28), Rate * FrameBytes);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(32), FrameBytes);
        BinaryPrimitives.WriteInt16LittleEndian(wav.AsSpan(34), 24);
        "data"u8.CopyTo(wav.AsSpan(36));
        BinaryPrimitives.WriteInt32LittleEndian(wav.AsSpan(40), Frames * FrameBytes);

        // Integers only: floating-point sines may differ between machines, and the input must not.
        uint noise = 1;
        for (int i = 0, at = 44; i < Frames; i++)
        {
            var phase = (long)i * (200 + (i >> 6)) % Rate;
            var triangle = (int)(Math.Abs((phase * 4_000_000 / Rate) - 2_000_000) - 1_000_000);
            for (var channel = 0; channel < 2; channel++, at += 3)
            {
                noise = (noise * 1_664_525) + 1_013_904_223;
                var sample = (channel == 0 ? triangle : -triangle / 2) + ((int)(noise >> 12) - 524_288);
                wav[at] = (byte)sample;
                wav[at + 1] = (byte)(sample >> 8);
                wav[at + 2] = (byte)(sample >> 16);
            }
        }

        return wav;
    }

    [GeneratedRegex(@"^ffmpeg version n?(\d+(?:\.\d+){0,3})", RegexOptions.CultureInvariant)]
    private static partial Regex VersionPattern { get; }
}
