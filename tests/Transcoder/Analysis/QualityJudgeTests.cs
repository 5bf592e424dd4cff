using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.Tests.Verification;

namespace Delivery.Transcoder.Tests.Analysis;

public sealed class QualityJudgeTests
{
    private static readonly ChannelReport Sound = new(-2, -18, 0, 2, 0);

    [Fact]
    public void GoodMaster_HasNoWarnings() => Assert.Empty(Judge(Set()));

    [Theory]
    [InlineData(-1.0, -14.0, "")]
    [InlineData(-0.9, -14.0, "truePeak")]
    [InlineData(-1.0, -6.0, "")]
    [InlineData(-1.0, -5.9, "veryLoud")]
    [InlineData(-1.0, -30.0, "")]
    [InlineData(-1.0, -30.1, "veryQuiet")]
    public void Levels_AtTheirBounds(double truePeak, double integrated, string expected) =>
        Assert.Equal(expected, string.Join(' ', Judge(Set() with { Loudness = new Loudness(integrated, 5, truePeak) })));

    [Fact]
    public void NoLoudnessButSound_IsVeryQuiet_NotSilent() => Assert.Equal(["veryQuiet"], Judge(Set() with { Loudness = null }));

    [Theory]
    [InlineData(-2.0, -60.0, "")]
    [InlineData(-2.0, -60.1, "deadChannel")]
    [InlineData(-61.0, -62.0, "")] // Both are quiet: that is no dead channel.
    [InlineData(-2.0, null, "deadChannel")]
    public void DeadChannel_IsOneOfTwo(double left, double? right, string expected) =>
        Assert.Equal(expected, string.Join(' ', Judge(With([Sound with { PeakDbfs = left }, Sound with { PeakDbfs = right }]))));

    [Theory]
    [InlineData(101, 15.1, "clipping")]
    [InlineData(100, 15.1, "")]
    [InlineData(101, 15.0, "")]
    public void Clipping_NeedsManySamples_ThatLieFlat(long count, double flatness, string expected) =>
        Assert.Equal(expected, string.Join(' ', Judge(With([Sound, Sound with { PeakCount = count, FlatFactor = flatness }]))));

    [Theory]
    [InlineData("pcm_s24le", 24, 16, "paddedBitDepth")]
    [InlineData("pcm_s24le", 24, 17, "")]
    [InlineData("pcm_s32le", 32, 24, "paddedBitDepth")]
    [InlineData("pcm_s16le", 16, 9, "")]
    [InlineData("pcm_f32le", 32, null, "")]
    [InlineData("mp3", 32, null, "lossySource")]
    public void DepthAndSource(string codec, int bits, int? used, string expected)
    {
        var set = Set();
        set = set with { Master = set.Master with { Codec = codec, BitsPerSample = bits }, Report = set.Report with { UsedBits = used } };
        Assert.Equal(expected, string.Join(' ', Judge(set)));
    }

    [Fact]
    public void Silences_AreLeadingTrailingOrInner_AndOfTheInnerTheFirstIsNamed()
    {
        var set = Set();
        string[] Codes(params Silence[] silences) => Judge(set with { Report = set.Report with { Silences = silences } });
        Assert.Empty(Codes(new Silence(0, 2), new Silence(50, 60), new Silence(175, 180)));
        Assert.Equal(["leadingSilence", "innerSilence", "trailingSilence"], Codes(new Silence(0, 2.1), new Silence(50, 60.1), new Silence(70, 90), new Silence(174.9, null)));
    }

    [Fact]
    public void Thresholds_AreTheOperators_AndEveryWrongOneIsNamed()
    {
        Assert.Equal(["truePeak", "veryQuiet"], QualityJudge.Judge(Set(), new QualityThresholds { MaxTruePeakDbtp = -3, MaxIntegratedLufs = -9, MinIntegratedLufs = -10 }).Select(w => w.Code));
        Assert.Empty(new QualityThresholds().Validate("Quality"));
        var wrong = new QualityThresholds { MaxTruePeakDbtp = double.NaN, MinIntegratedLufs = -5, MaxLeadingSilence = TimeSpan.FromSeconds(1), MinBitrateRatio = 1.1 };
        Assert.Equal(
            ["MaxTruePeakDbtp", "MinIntegratedLufs", "MinIntegratedLufs", "MaxLeadingSilence", "MinBitrateRatio"],
            wrong.Validate("Quality").Select(p => p["Quality.".Length..p.IndexOf(':', StringComparison.Ordinal)]));
    }

    [Fact]
    public async Task OneDeadChannel_AndTwoOfTheSame_AreMeasured()
    {
        const string Rung = """{"quality":"lossless","codec":"Flac","sampleRate":44100,"bitsPerSample":16}""";
        using var dead = await Bench.EncodeAsync((Master.OfSeconds(1.1) with { Sound = (t, c) => c == 1 ? 0 : Master.Music(t, 0) }).ToWav(), Rung);
        var set = await dead.DescribeAsync();
        Assert.Contains("deadChannel", Judge(set));
        Assert.Equal((true, true, false), (set.Report.Channels[0].PeakDbfs > -20, set.Report.Channels[1].PeakDbfs is null, set.Report.IdenticalChannels));
        using var same = await Bench.EncodeAsync((Master.OfSeconds(1.1) with { Sound = (t, _) => Master.Music(t, 0) }).ToWav(), Rung);
        Assert.Contains("dualMono", Judge(await same.DescribeAsync()));
    }

    private static string[] Judge(RenditionSet set) => [.. QualityJudge.Judge(set, new QualityThresholds()).Select(w => w.Code)];

    private static RenditionSet With(IReadOnlyList<ChannelReport> channels)
    {
        var set = Set();
        return set with { Report = set.Report with { Channels = channels } };
    }

    private static RenditionSet Set() => new()
    {
        MasterSha256 = "",
        Ladder = "",
        Encoder = "",
        Master = new MasterFacts("wav", "pcm_s16le", 44_100, 16, 2, 180 * 44_100),
        Loudness = new Loudness(-14, 5, -1.5),
        Report = new QualityReport { SamplePeakDbfs = -2, UsedBits = 16, Channels = [Sound, Sound], IdenticalChannels = false, Silences = [] },
        Waveform = new WaveformFacts(0, "", 44_100, 1024, 0),
        Renditions = [],
    };
}
