using Delivery.Cli.Soak;

namespace Delivery.Cli.Tests.Soak;

public sealed class SoakPartsTests
{
    [Fact]
    public void Content_IsTheSameWhateverTheCut()
    {
        var content = new SoakContent(7, 1, 2);
        var whole = new byte[10_000];
        content.Fill(0, whole);
        var random = new Random(1);
        for (var i = 0; i < 1_000; i++)
        {
            var offset = random.Next(whole.Length);
            var part = new byte[random.Next(whole.Length - offset)];
            content.Fill(offset, part);
            Assert.True(part.AsSpan().SequenceEqual(whole.AsSpan(offset, part.Length)));
            Assert.Equal(part.Length, content.CountRight(offset, part));
            if (part.Length == 0)
                continue;
            var wrong = random.Next(part.Length);
            part[wrong] ^= (byte)(1 << random.Next(8));
            Assert.Equal(wrong, content.CountRight(offset, part));
        }
    }

    [Fact]
    public void Content_OfAnotherObjectVersionSeedOrPlace_Differs()
    {
        var bytes = new byte[64];
        new SoakContent(7, 1, 2).Fill(0, bytes);
        Assert.InRange(new SoakContent(8, 1, 2).CountRight(0, bytes), 0, 7);
        Assert.InRange(new SoakContent(7, 2, 2).CountRight(0, bytes), 0, 7);
        Assert.InRange(new SoakContent(7, 1, 1).CountRight(0, bytes), 0, 7);
        Assert.InRange(new SoakContent(7, 1, 2).CountRight(1, bytes), 0, 7);
    }

    [Fact]
    public void KillPlan_IsSeeded_InOrder_AndWithinTheTime()
    {
        var duration = TimeSpan.FromMinutes(10);
        var plan = KillPlan.Make(100, duration, 42);

        Assert.Equal(100, plan.Count);
        Assert.Equal(plan, KillPlan.Make(100, duration, 42));
        Assert.NotEqual(plan, KillPlan.Make(100, duration, 43));
        Assert.Equal(KillKind.Running, plan[0].Kind);
        Assert.Equal(3, plan.Select(k => k.Kind).Distinct().Count());
        var moments = plan.Where(k => k.Kind == KillKind.Running).Select(k => k.At).ToList();
        Assert.Equal(moments.Order(), moments);
        Assert.InRange(moments[0], TimeSpan.Zero, moments[^1]);
        Assert.InRange(moments[^1], moments[0], duration);
    }

    [Fact]
    public void Histogram_PercentilesAreAtMostASixteenthTooHigh_AndTheMaximumIsExact()
    {
        var histogram = new LatencyHistogram();
        for (var i = 1; i <= 100_000; i++)
            histogram.Record(TimeSpan.FromMicroseconds(i));

        Assert.Equal(100_000, histogram.Count);
        Assert.Equal(TimeSpan.FromMicroseconds(100_000), histogram.Max);
        Assert.InRange(histogram.Percentile(0.5).TotalMicroseconds, 50_000, 50_000 * 17 / 16.0);
        Assert.InRange(histogram.Percentile(0.99).TotalMicroseconds, 99_000, 100_000);
        Assert.Equal(histogram.Max, histogram.Percentile(1));
    }

    [Fact]
    public void Histogram_BucketsMeetWithoutGap()
    {
        for (var i = 0; i < 400; i++)
        {
            Assert.Equal(i, LatencyHistogram.IndexOf(LatencyHistogram.UpperBound(i)));
            Assert.Equal(i + 1, LatencyHistogram.IndexOf(LatencyHistogram.UpperBound(i) + 1));
        }
    }

    [Fact]
    public void Figures_OfThisProcess_AreThere_AndOfAnEndedOneAreNot()
    {
        var folder = Directory.CreateTempSubdirectory("soak-figures-");
        File.WriteAllBytes(Path.Combine(folder.FullName, "a"), new byte[1_000]);
        using var deleted = new FileStream(Path.Combine(folder.FullName, "b"), FileMode.CreateNew);
        var before = ProcessFigures.Read(Environment.ProcessId, folder.FullName)!.Value;
        File.Delete(deleted.Name);

        var after = ProcessFigures.Read(Environment.ProcessId, folder.FullName)!.Value;

        Assert.InRange(after.RssBytes, 10 << 20, 4L << 30);
        Assert.InRange(after.Threads, 2, 1_000);
        Assert.InRange(after.Descriptors, 3, 10_000);
        Assert.Equal((2, 1_000), (before.CacheFiles, before.CacheBytes));
        Assert.Equal((1, 1_000), (after.CacheFiles, after.CacheBytes));
        Assert.True(after.UnlinkedFiles >= 1);
        Assert.Null(ProcessFigures.Read(int.MaxValue, null));
        folder.Delete(recursive: true);
    }

    [Fact]
    public void DescriptorsThatGrow_AreFound_AndNewSegmentsAreNoGrowth()
    {
        Assert.Null(SoakReport.DescriptorGrowth(Life(second => (200, 0))));
        Assert.Null(SoakReport.DescriptorGrowth(Life(second => (200 + second, second))));
        Assert.NotNull(SoakReport.DescriptorGrowth(Life(second => (200 + second, 0))));
        Assert.Null(SoakReport.DescriptorGrowth(Life(second => (200 + second, 0))[..10]));
    }

    [Fact]
    public void Slope_IsPerMinute_WithoutTheFirstQuarter()
    {
        var life = Life(second => (second < 20 ? 1_000 : 100 + second, 0));

        Assert.Equal(60, SoakReport.SlopePerMinute(life, f => f.Descriptors)!.Value, 6);
    }

    private static SoakSample[] Life(Func<int, (int Descriptors, int Files)> at) =>
        [.. Enumerable.Range(0, 100).Select(second => new SoakSample(1, TimeSpan.FromSeconds(second), new(1, 1, at(second).Descriptors, 0, at(second).Files, 0)))];
}
