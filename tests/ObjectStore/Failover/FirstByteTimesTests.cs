namespace Delivery.ObjectStore.Failover;

public sealed class FirstByteTimesTests
{
    [Fact]
    public void Percentile_NeedsTwentyAnswers()
    {
        var times = new FirstByteTimes();
        for (var i = 1; i < FirstByteTimes.MinSamples; i++)
            times.Add(TimeSpan.FromMilliseconds(100));
        Assert.Null(times.Percentile95());
        times.Add(TimeSpan.FromMilliseconds(100));
        Assert.Equal(TimeSpan.FromMilliseconds(100), times.Percentile95());
    }

    [Fact]
    public void Percentile_IsOfTheLastAnswers_AndNeverBelowItsFloor()
    {
        var times = new FirstByteTimes();
        for (var i = 1; i <= 100; i++)
            times.Add(TimeSpan.FromMilliseconds(10 * i));
        Assert.Equal(TimeSpan.FromMilliseconds(950), times.Percentile95());
        for (var i = 0; i < FirstByteTimes.Window; i++)
            times.Add(TimeSpan.FromMilliseconds(1));
        Assert.Equal(FirstByteTimes.Floor, times.Percentile95());
    }
}
