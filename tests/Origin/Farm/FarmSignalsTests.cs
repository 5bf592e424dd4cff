using System.Globalization;
using Delivery.Origin.Tests.Api;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Tests.Farm;

/// <summary>Gauges of one node: alone, because every node of the process shows in one exposition.</summary>
[CollectionDefinition("alone", DisableParallelization = true)]
[Collection("alone")]
public class FarmSignalsTests
{
    [Fact]
    public async Task Gauges_SayWhatIsQueued_HowUrgent_AndHowLate()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.KeepQueue());
        await origin.PublishAsync(trackIds: ["t1", "t2"]);
        await origin.PutReleaseAsync("soon", further: """, "availableFrom": "2026-11-21T18:00:00Z" """, trackIds: "s1");
        await origin.UploadAsync([1, 2, 3], "s1", "soon");
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.UploadAsync([4], "t2");
        await Until.TrueAsync(() => origin.Queue.MeasureAsync(default).AsTask(), d => d.Total == 1);
        using (await LadderTests.PutAsync(origin, "radio-1", LadderTests.Radio))
        using (await origin.Client.PostAsync("/v1/backfills", OriginHarness.Json("""{"ladder": "radio-1"}""")))
        {
        }

        origin.Time.Advance(TimeSpan.FromMinutes(30));
        await origin.Farm.ProgressAsync(job, JobPhase.Encode, 0.5);
        await Until.TrueAsync(() => origin.TrackAsync("s1"), t => t.Job!.Phase == JobPhase.Encode);
        using var admin = new HttpClient { BaseAddress = origin.Node.AdminAddress };
        var text = await Until.TrueAsync(
            async () =>
            {
                origin.Time.Advance(TimeSpan.FromSeconds(10));
                return await admin.GetStringAsync("/metrics");
            },
            seen => Value(seen, "delivery_origin_backfill_outstanding") == 1);
        Assert.Equal((1, 1, 0), (Value(text, "delivery_origin_jobs_queued{urgency=\"day\"}"), Value(text, "delivery_origin_jobs_queued{urgency=\"later\"}"), Value(text, "delivery_origin_jobs_queued{urgency=\"hour\"}")));
        Assert.Equal((3, 1), (Value(text, "delivery_origin_jobs_queued_size_bytes{urgency=\"day\"}"), Value(text, "delivery_origin_jobs_queued_size_bytes{urgency=\"later\"}")));
        Assert.Equal(1, Value(text, "delivery_origin_jobs_in_work"));
        var age = Value(text, "delivery_origin_jobs_oldest_age_seconds");
        Assert.InRange(age, 1800, 3600);
        Assert.Equal(6 * 3600, age + Value(text, "delivery_origin_jobs_deadline_slack_seconds"));
        Assert.Contains("delivery_origin_queue_depth{line=\"delayed\"} 0", text, StringComparison.Ordinal);
    }

    private static double Value(string exposition, string series) =>
        exposition.Split('\n').FirstOrDefault(line => line.StartsWith(series + " ", StringComparison.Ordinal)) is { } line ? double.Parse(line[(series.Length + 1)..], CultureInfo.InvariantCulture) : double.NaN;
}
