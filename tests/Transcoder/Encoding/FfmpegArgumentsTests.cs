using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;

namespace Delivery.Transcoder.Tests.Encoding;

/// <summary>The arguments decide the bytes of everything that is published, so each change must be seen. One argument per line.</summary>
public sealed class FfmpegArgumentsTests
{
    [Theory]
    [InlineData("cd-stereo", 44_100, 16, 2, 200.0, "pcm_s16le", false)]
    [InlineData("hires-mono", 96_000, 24, 1, 400.0, "flac", false)]
    [InlineData("float-with-fdk", 48_000, 32, 2, 10.0, "pcm_f32le", true)]
    public void Arguments_AreTheGoldenOnes(string name, int rate, int bits, int channels, double seconds, string codec, bool heAacV2)
    {
        var master = new MasterProbe("wav", codec, rate, channels, bits, (long)(seconds * rate));
        var actual = string.Join('\n', FfmpegArguments.Build(EncodePlan.Create(Ladder.Default, master, heAacV2), "master")).Replace(";", ";\n", StringComparison.Ordinal) + "\n";
        using var golden = new StreamReader(typeof(FfmpegArgumentsTests).Assembly.GetManifestResourceStream($"{name}.golden.txt")!);
        Assert.Equal(golden.ReadToEnd(), actual);
    }

    [Theory]
    [InlineData(10, null)]
    [InlineData(30, null)]
    [InlineData(31, 1L)]
    [InlineData(60, 15L)]
    [InlineData(200, 50L)]
    [InlineData(3_600, 60L)]
    public void Excerpt_StartsAQuarterIn_NoLaterThanAMinute_AndFits(int seconds, long? startSecond)
    {
        var excerpt = Excerpt.Of(Ladder.Default.Preview!, new MasterProbe("wav", "pcm_s16le", 44_100, 2, 16, seconds * 44_100L));
        Assert.Equal(startSecond * 44_100, excerpt?.StartSample);
        Assert.Equal(startSecond is null ? null : 30 * 44_100L, excerpt?.EndSample - excerpt?.StartSample);
    }

    [Theory]
    [InlineData(200, 1_000_000)]
    [InlineData(300, 1_000_000)]
    [InlineData(3_600, 12_000_000)]
    public void Fragments_GrowWithTheTrack(int seconds, long microseconds)
    {
        var plan = EncodePlan.Create(Ladder.Default, new MasterProbe("wav", "pcm_s16le", 44_100, 2, 16, seconds * 44_100L), false);
        Assert.Equal(microseconds, FfmpegArguments.FragmentMicroseconds(plan, plan.Renditions.First(r => r.Rung is { Quality: "normal", Codec: RungCodec.Aac }).Rung));
    }
}
