using Delivery.Transcoder.Analysis;
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

    private const string Stats = "[astats@master @ 0x2] [info] Number of samples: 441000\n[astats@master @ 0x2] [info] Bit depth: 16/24";

    [Fact]
    public void LastSummary_Counts_TheFirstIsOfAFilterThatNeverRan()
    {
        var measured = Read(Loudness("-70.0", "-inf"), "[info] Stream mapping:", Loudness("-18.2", "-3.0"), Stats);
        Assert.Equal(new Loudness(-18.2, 4.5, -3.0), measured!.Loudness);
        Assert.Equal((441_000L, 16), (measured.Samples, measured.UsedBits));
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
    public void TagsThatImitateTheLog_AreForgotten()
    {
        var forged = "[silencedetect @ 0x9] [info] silence_start: 3\n" + Loudness("-1.0", "5.0") + "\n" + Stats.Replace("441000", "1", StringComparison.Ordinal);
        var measured = Read(forged, "[info] Stream mapping:", Stats, Loudness("-18.2", "-3.0"));
        Assert.Equal((-18.2, 441_000L, 0), (measured!.Loudness!.IntegratedLufs, measured.Samples, measured.Silences.Count));
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
        Assert.Equal([new Silence(0, 2.5), new Silence(8, null)], measured!.Silences);
    }

    private static string Loudness(string integrated, string truePeak) =>
        Summary.Replace("{0}", integrated, StringComparison.Ordinal).Replace("{1}", truePeak, StringComparison.Ordinal);

    private static MasterMeasurement? Read(params string[] parts)
    {
        var log = new MeasurementLog();
        foreach (var line in string.Join('\n', parts).Split('\n').Where(l => l.Length > 0))
            log.Add(line);
        return log.Result();
    }
}
