using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Tests.Analysis;

public sealed class MeasurementLogTests
{
    private const string Summary = """
        [ebur128@master @ 0x1] [info] Summary:

          Integrated loudness:
            I:         {0} LUFS
            Threshold: -30.0 LUFS

          Loudness range:
            LRA:         4.5 LU
            Threshold: -40.0 LUFS
            LRA low:   -20.0 LUFS
            LRA high:  -15.5 LUFS

          Sample peak:
            Peak:       -3.3 dBFS

          True peak:
            Peak:       {1} dBFS
        """;

    private const string Stats = """
        [astats@master @ 0x2] [info] Channel: 1
        [astats@master @ 0x2] [info] DC offset: -0.000014
        [astats@master @ 0x2] [info] Peak level dB: -3.304566
        [astats@master @ 0x2] [info] RMS level dB: -21.762107
        [astats@master @ 0x2] [info] Flat factor: 2.345678
        [astats@master @ 0x2] [info] Peak count: 3
        [astats@master @ 0x2] [info] Channel: 2
        [astats@master @ 0x2] [info] DC offset: -0.000001
        [astats@master @ 0x2] [info] Peak level dB: -inf
        [astats@master @ 0x2] [info] RMS level dB: -inf
        [astats@master @ 0x2] [info] Flat factor: -inf
        [astats@master @ 0x2] [info] Peak count: 2646000
        [astats@master @ 0x2] [info] Overall
        [astats@master @ 0x2] [info] Peak level dB: -3.304566
        [astats@master @ 0x2] [info] Bit depth: 16/24
        [astats@master @ 0x2] [info] Number of samples: 2646000
        [astats@master @ 0x2] [info] Number of NaNs: 0.000000
        """;

    [Fact]
    public void LastSummary_Counts_TheFirstIsOfAFilterThatNeverRan()
    {
        var measured = Read(Loudness("-70.0", "-inf"), "[info] Stream mapping:", Loudness("-18.2", "-3.0").Replace("@master", "@feed3", StringComparison.Ordinal), Loudness("-18.3", "-3.0"), Stats);
        Assert.Equal(new Loudness(-18.3, 4.5, -3.0), measured!.Loudness);
        Assert.Equal((2_646_000L, 16, -3.3), (measured.Samples, measured.Report.UsedBits, measured.Report.SamplePeakDbfs));
        Assert.Equal([new ChannelReport(-3.3, -21.76, -0.00001, 3, 2.35), new ChannelReport(null, null, 0, 2_646_000, 0)], measured.Report.Channels);
        Assert.False(double.IsNegative(measured.Report.Channels[1].DcOffset));
        Assert.False(measured.Report.IdenticalChannels);
        Assert.Equal(-18.2, measured.Lufs["feed3"]);
    }

    [Theory]
    [InlineData("-70.0", "-inf")]
    [InlineData("nan", "-1.0")]
    [InlineData("-nan", "nan")]
    public void NoNumber_IsNoLoudness(string integrated, string peak)
    {
        var measured = Read("[info] Stream mapping:", Loudness(integrated, peak), Stats);
        Assert.NotNull(measured);
        Assert.Null(measured.Loudness);
    }

    [Fact]
    public void LoudnessRange_NeedsAMinute()
    {
        Assert.Equal(4.5, Read("[info] Stream mapping:", Loudness("-18.2", "-3.0"), Stats)!.Loudness!.RangeLu);
        Assert.Null(Read(2_645_999, "[info] Stream mapping:", Loudness("-18.2", "-3.0"), Stats)!.Loudness!.RangeLu);
    }

    [Fact]
    public void TagsThatImitateTheLog_AreForgotten()
    {
        var forged = "[silencedetect @ 0x9] [info] silence_start: 3\n" + Loudness("-1.0", "5.0") + "\n" + Stats.Replace("2646000", "1", StringComparison.Ordinal);
        var measured = Read(forged, "[info] Stream mapping:", Stats, Loudness("-18.2", "-3.0"));
        Assert.Equal((-18.2, 2_646_000L, 0), (measured!.Loudness!.IntegratedLufs, measured.Samples, measured.Report.Silences.Count));
        Assert.Null(Read(forged, "[info] Stream mapping:"));
    }

    [Fact]
    public void Silences_ArePaired_AndTheLastMayBeOpen()
    {
        var measured = Read(
            "[info] Stream mapping:",
            "[silencedetect @ 0x3] [info] silence_start: -0.01\n[silencedetect @ 0x3] [info] silence_end: 2.5 | silence_duration: 2.5\n[silencedetect @ 0x3] [info] silence_start: 8",
            Loudness("-18.2", "-3.0"),
            Stats);
        Assert.Equal([new Silence(0, 2.5), new Silence(8, null)], measured!.Report.Silences);
    }

    [Fact]
    public void OfTooManySilences_TheFirstAndTheLastAreKept()
    {
        var many = string.Join('\n', Enumerable.Range(0, 300).Select(i => $"[silencedetect @ 0x3] [info] silence_start: {10 * i}\n[silencedetect @ 0x3] [info] silence_end: {(10 * i) + 3} | silence_duration: 3"));
        var silences = Read("[info] Stream mapping:", many, Loudness("-18.2", "-3.0"), Stats)!.Report.Silences;
        Assert.Equal((100, new Silence(980, 983), new Silence(2990, 2993)), (silences.Count, silences[98], silences[99]));
    }

    private static string Loudness(string integrated, string truePeak) =>
        Summary.Replace("{0}", integrated, StringComparison.Ordinal).Replace("{1}", truePeak, StringComparison.Ordinal);

    private static MasterMeasurement? Read(params string[] parts) => Read(2_646_000, parts);

    private static MasterMeasurement? Read(long samples, params string[] parts)
    {
        var log = new MeasurementLog();
        foreach (var line in string.Join('\n', parts).Split('\n').Where(l => l.Length > 0))
            log.Add(line);
        return log.Result(new MasterProbe("wav", "pcm_s24le", 44_100, 2, 24, samples));
    }
}
