using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Jobs;

public sealed class TimeEstimatorTests
{
    private static readonly JobSize Song = new(40_000_000, TimeSpan.FromSeconds(200));

    [Fact]
    public void LaterPhases_LeaveLess()
    {
        var estimator = new TimeEstimator();
        var left = Enum.GetValues<JobPhase>().Where(p => p <= JobPhase.Done).Select(p => Math.Round(estimator.SecondsLeft(p, 0, TimeSpan.Zero, Song), 6)).ToList();
        Assert.Equal(left.OrderDescending(), left);
        Assert.True(left[0] > 1, $"{left[0]}");
        Assert.Equal(0, left[^1]);
    }

    [Fact]
    public void RunningPhase_GoesByItsOwnPace_OnceItIsKnown()
    {
        var estimator = new TimeEstimator();
        var after = estimator.SecondsLeft(JobPhase.Verify, 0, TimeSpan.Zero, Song);
        Assert.Equal(after + 30, estimator.SecondsLeft(JobPhase.Encode, 0.25, TimeSpan.FromSeconds(10), Song), 6);
        Assert.Equal(after, estimator.SecondsLeft(JobPhase.Encode, 1, TimeSpan.FromSeconds(10), Song), 6);
    }

    [Fact]
    public void FinishedJobs_Teach_BothWays()
    {
        var estimator = new TimeEstimator();
        for (var i = 0; i < 30; i++)
            estimator.Learn(JobPhase.Encode, Song, TimeSpan.FromSeconds(100));
        Assert.InRange(Encode(), 99, 101);
        estimator.Learn(JobPhase.Encode, Song, TimeSpan.FromSeconds(50));
        Assert.InRange(Encode(), 89, 91);

        double Encode() => estimator.SecondsLeft(JobPhase.Encode, 0, TimeSpan.Zero, Song) - estimator.SecondsLeft(JobPhase.Verify, 0, TimeSpan.Zero, Song);
    }

    [Fact]
    public void BeforeTheProbe_TheLengthIsGuessed_FromWhatMastersHeld()
    {
        var estimator = new TimeEstimator();
        var unprobed = Song with { Audio = null };
        for (var i = 0; i < 40; i++)
            estimator.Learn(JobPhase.Probe, Song, TimeSpan.FromSeconds(0.1));
        Assert.Equal(estimator.SecondsLeft(JobPhase.Fetch, 0, TimeSpan.Zero, Song), estimator.SecondsLeft(JobPhase.Fetch, 0, TimeSpan.Zero, unprobed), 1);
    }

    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 0.001)]
    public void ShortAndEmptyMasters_HaveAFiniteEstimate(long bytes, double seconds)
    {
        var estimator = new TimeEstimator();
        var size = new JobSize(bytes, TimeSpan.FromSeconds(seconds));
        foreach (var phase in Enum.GetValues<JobPhase>())
            estimator.Learn(phase, size, TimeSpan.FromSeconds(1));
        Assert.All(Enum.GetValues<JobPhase>(), phase => Assert.True(double.IsFinite(estimator.SecondsLeft(phase, 0, TimeSpan.FromHours(1), size))));
    }
}
