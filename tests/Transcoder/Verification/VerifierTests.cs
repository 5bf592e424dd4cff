using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Verification;

namespace Delivery.Transcoder.Tests.Verification;

public sealed class VerifierTests
{
    private const string Vorbis96 = """{"quality":"normal","codec":"Vorbis","bitrate":96000}""";
    private const string Aac96 = """{"quality":"normal","codec":"Aac","bitrate":96000}""";
    private const string Cd = """{"quality":"lossless","codec":"Flac","sampleRate":44100,"bitsPerSample":16,"compressionLevel":0}""";

    // Each of these decodes without a fault, is what its container says, and is not what the master is.
    [Theory]
    [InlineData(Vorbis96, "LUFS", "-af", "volume=-1dB", "-c:a", "libvorbis", "-b:a", "96k", "-page_duration", "100000")]
    [InlineData(Vorbis96, "samples", "-t", "5.4", "-c:a", "libvorbis", "-b:a", "96k", "-page_duration", "100000")]
    [InlineData(Vorbis96, "bytes of audio", "-c:a", "libvorbis", "-b:a", "480k", "-page_duration", "100000")]
    [InlineData(Cd, "sounds after", "-c:a", "flac", "-compression_level", "0", "-frame_size", "4096", "-metadata_header_padding", "70000")]
    [InlineData(Cd, "MD5", "-af", "volume=-0.1dB", "-c:a", "flac", "-compression_level", "0", "-frame_size", "4096")]
    public async Task AnotherFileInARenditionsPlace_IsRefused_AndSaysWhy(string rung, string why, params string[] arguments)
    {
        using var bench = await Bench.EncodeAsync(Noise(5.5), rung);
        Assert.Single(await bench.VerifyAsync());
        await bench.ReplaceAsync(0, arguments);
        var error = await Assert.ThrowsAsync<JobException>(bench.VerifyAsync);
        Assert.Equal(JobFailure.VerificationFailed, error.Failure);
        Assert.Contains(why, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task FlippedBit_IsRefused()
    {
        using var bench = await Bench.EncodeAsync(Noise(1.5), $"{Vorbis96},{Cd}");
        var file = Path.Combine(bench.Folder, bench.Plan.Renditions[0].FileName);
        var bytes = await File.ReadAllBytesAsync(file);
        bytes[bytes.Length / 2] ^= 0x10;
        await File.WriteAllBytesAsync(file, bytes);
        Assert.Equal(JobFailure.VerificationFailed, (await Assert.ThrowsAsync<JobException>(bench.VerifyAsync)).Failure);
    }

    [Fact]
    public async Task WhiteNoise_ThatACodecCutsOffAbove_IsComparedBelow_AndPasses()
    {
        using var bench = await Bench.EncodeAsync(Noise(5.5), Aac96);
        var verified = Assert.Single(await bench.VerifyAsync());
        // As a whole it is off by more than is allowed: the encoder ends at 15 kHz.
        Assert.True(bench.Encoded.Measured.Loudness!.IntegratedLufs - verified.IntegratedLufs > LoudnessBound.MaxDriftLu);
    }

    [Theory]
    [InlineData(96_000, -14.0, 10.0, 0.5)]
    [InlineData(96_000, -14.0, 4.9, 1.0)]
    [InlineData(96_000, -7.0, 10.0, 1.0)] // AAC, loud throughout
    [InlineData(48_000, -14.0, 10.0, 1.5)]
    [InlineData(48_000, -14.0, 4.9, null)]
    public void Bound_IsHalfAUnit_WithNamedExceptions(int bitrate, double lufs, double seconds, double? bound)
    {
        var rung = new Rung { Codec = RungCodec.Aac, Bitrate = bitrate };
        var rendition = new PlannedRendition { Rung = rung, Feed = default, FileName = "", SampleRate = 44_100, Channels = 2, IsMastersPcm = false };
        Assert.Equal(bound, LoudnessBound.Of(rendition, lufs, TimeSpan.FromSeconds(seconds), inBand: false));
    }

    [Theory]
    [InlineData(-20, -20.4, -0.4)]
    [InlineData(-70, double.NaN, 0)] // Silence either way.
    [InlineData(-64.5, -70, -0.5)]
    [InlineData(double.NaN, -20, 45)] // Sound out of silence.
    public void Drift_CountsNothingBelowTheFloor(double fed, double decoded, double drift) => Assert.Equal(drift, LoudnessBound.Drift(fed, decoded));

    private static byte[] Noise(double seconds)
    {
        var random = new Random(7);
        return (Master.OfSeconds(seconds) with { Sound = (_, _) => (random.NextDouble() - 0.5) * 0.5 }).ToWav();
    }
}
