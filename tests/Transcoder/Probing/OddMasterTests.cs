using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Tests.Verification;

namespace Delivery.Transcoder.Tests.Probing;

/// <summary>Masters that are unusual and right: through probe, encode and verification.</summary>
public sealed class OddMasterTests
{
    private const string Rungs = """
        {"quality":"normal","codec":"Aac","bitrate":96000},
        {"quality":"lossless","codec":"Flac","sampleRate":44100,"bitsPerSample":16},
        {"quality":"hires","codec":"Flac"}
        """;

    private static readonly TranscoderOptions Lossy = new() { AllowLossyMasters = true };

    [Theory]
    [InlineData(88_200)]
    [InlineData(176_400)]
    public async Task RatesOfDsdConversions(int rate)
    {
        using var bench = await Bench.EncodeAsync(Master.OfSeconds(1.1, rate, 24).ToWav(), Rungs);
        Assert.Equal([44_100, 44_100, rate], (await bench.VerifyAsync()).Select(v => v.Planned.SampleRate));
    }

    [Fact]
    public async Task Rf64()
    {
        using var bench = await Bench.EncodeAsync(await Tool.ConvertAsync(Master.OfSeconds(1.2).ToWav(), "wav", "-rf64", "always"), Rungs);
        Assert.Equal((52_920L, "wav"), ((await bench.VerifyAsync())[0].Gapless.TotalSamples, bench.Plan.Master.Container));
    }

    [Fact]
    public async Task FloatAboveFullScale_IsClippedAlikeInEveryRendition_AndWarned()
    {
        var master = new Master { Samples = 96_000, SampleRate = 48_000, Bits = 32, IsFloat = true, Sound = Master.Tone(2) };
        using var bench = await Bench.EncodeAsync(master.ToWav(), Rungs);
        var set = await bench.DescribeAsync();
        Assert.Equal(6.02, set.Report.SamplePeakDbfs!.Value, 0.01);
        Assert.Null(set.Report.UsedBits);
        Assert.Contains("overFullScale", QualityJudge.Judge(set, new QualityThresholds()).Select(w => w.Code));
        Assert.All(set.Renditions, r => Assert.InRange(set.Loudness!.IntegratedLufs - r.IntegratedLufs!.Value, 3, 6)); // What was cut off.
    }

    [Fact]
    public async Task TwentyFourBitsInThirtyTwo_AreSeen()
    {
        var master = Master.OfSeconds(1.1, bits: 32) with { Sound = (t, c) => Math.Round(Master.Music(t, c) * 8_388_607) * 256 / 2_147_483_647 };
        using var bench = await Bench.EncodeAsync(master.ToWav(), Rungs);
        var set = await bench.DescribeAsync();
        Assert.Equal((32, 24), (set.Master.BitsPerSample, set.Report.UsedBits));
        Assert.Equal(24, set.Renditions[2].BitsPerSample);
    }

    [Theory]
    [InlineData("mp3", "libmp3lame", "mp3", "mp3")]
    [InlineData("m4a", "aac", "m4a", "aac")]
    [InlineData("ogg", "libvorbis", "ogg", "vorbis")]
    public async Task LossyMaster_WhereAllowed_IsDecodedOnce_AndWarned(string extension, string encoder, string container, string codec)
    {
        var wav = Master.OfSeconds(1.3).ToWav();
        using var bench = await Bench.EncodeAsync(await Tool.ConvertAsync(wav, extension, "-c:a", encoder), Rungs, Lossy);
        var set = await bench.DescribeAsync();
        Assert.Equal((container, codec, 57_330L), (set.Master.Container, set.Master.Codec, set.Master.Samples));
        Assert.Equal(57_330, set.Renditions[0].Gapless.TotalSamples);
        Assert.Equal("lossySource", QualityJudge.Judge(set, new QualityThresholds())[0].Code);
    }

    [Theory]
    [InlineData("mp3", "libmp3lame")]
    [InlineData("m4a", "aac")]
    public async Task LossyMasterThatWasCut_IsRefused(string extension, string encoder)
    {
        var whole = await Tool.ConvertAsync(Master.OfSeconds(4).ToWav(), extension, "-c:a", encoder, "-movflags", "+faststart");
        var error = await Assert.ThrowsAsync<JobException>(() => Bench.EncodeAsync(whole[..(whole.Length / 2)], Rungs, Lossy));
        Assert.Equal(JobFailure.CorruptMaster, error.Failure);
    }

    [Theory]
    [InlineData("aac", "aac")] // ADTS: no length.
    [InlineData("opus", "libopus")]
    public async Task OtherLossyFormats_StayRefused(string extension, string encoder)
    {
        var master = await Tool.ConvertAsync(Master.OfSeconds(1.1, 48_000).ToWav(), extension, "-c:a", encoder);
        var error = await Assert.ThrowsAsync<JobException>(() => Bench.EncodeAsync(master, Rungs, Lossy));
        Assert.Equal(JobFailure.UnsupportedFormat, error.Failure);
    }
}
