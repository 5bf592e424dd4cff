using Delivery.Origin.Api;
using Delivery.Origin.Webhooks;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Tests.Webhooks;

public class WebhookTests
{
    private const string Ready = "ready";
    private const string Failed = "failed";

    [Fact]
    public async Task FinishedTracks_AreToldOnce_Signed_WithTheirOutcome()
    {
        await using var all = await HookReceiver.StartAsync();
        await using var failures = await HookReceiver.StartAsync();
        await using var origin = await OriginHarness.StartAsync(h => Tell(h, (all, null), (failures, ["track.failed"])));
        await origin.PublishAsync();
        await NothingWaitsAsync(origin, Ready);
        await origin.UploadAsync([2]);
        var job = (await origin.Farm.TakeAsync()).Job;
        await origin.Farm.FailAsync(job, JobFailure.CorruptMaster, "It breaks off.");
        await NothingWaitsAsync(origin, Failed);
        await origin.Client.PostAsync($"/v1/jobs/{job.JobId}:retry", null);
        await origin.Client.PostAsync($"/v1/jobs/{job.JobId}:cancel", null);
        await Until.TrueAsync(() => Task.FromResult(all.Received.Count + failures.Received.Count), count => count == 5);

        Assert.All(all.Received.Concat(failures.Received), r => Assert.True(r.IsSigned));
        Assert.Equal(["track.ready", "track.failed", "track.failed"], all.Received.Select(r => r.Body.GetProperty("type").GetString()));
        Assert.Equal(all.Received.Skip(1).Select(r => r.Id), failures.Received.Select(r => r.Id));
        Assert.Equal(3, all.Received.Select(r => r.Id).Distinct().Count());
        var (ready, failed) = (all.Received.First().Body, all.Received.ElementAt(1).Body.GetProperty("data"));
        Assert.Equal("2026-11-21T12:00:00+00:00", ready.GetProperty("timestamp").GetString());
        var data = ready.GetProperty("data");
        Assert.Equal(("t1", "r1", "default-1", 20_000), (data.GetProperty("trackId").GetString(), data.GetProperty("releaseId").GetString(), data.GetProperty("ladder").GetString(), data.GetProperty("durationMs").GetInt32()));
        Assert.Equal((job.JobId, "corruptMaster"), (failed.GetProperty("jobId").GetString(), failed.GetProperty("failure").GetProperty("code").GetString()));
        Assert.Equal("cancelled", all.Received.Last().Body.GetProperty("data").GetProperty("failure").GetProperty("code").GetString());
    }

    [Fact]
    public async Task RefusedEvent_ComesAgain_TheSame_AndNoRedirectIsFollowed()
    {
        await using var receiver = await HookReceiver.StartAsync();
        receiver.Answer = n => n switch { 1 => 500, 2 => 307, _ => 200 };
        await using var origin = await OriginHarness.StartAsync(h => Tell(h, (receiver, null)));
        await origin.PublishAsync();
        await NothingWaitsAsync(origin, Ready);
        Assert.Equal(3, receiver.Received.Count);
        Assert.All(receiver.Received, r => Assert.True(r.IsSigned));
        Assert.Equal(["/hook"], receiver.Received.Select(r => r.Path).Distinct());
        Assert.Single(receiver.Received.Select(r => (r.Id, r.Body.GetRawText())).Distinct());
    }

    [Fact]
    public async Task EventThatACrashLeft_IsSentByTheNextOrigin_UnderTheSameId()
    {
        await using var receiver = await HookReceiver.StartAsync();
        receiver.Answer = _ => 503;
        await using var origin = await OriginHarness.StartAsync(h =>
        {
            Tell(h, (receiver, null));
            h.Options.WebhookRetryDelay = TimeSpan.FromMinutes(1);
        });
        await origin.PublishAsync();
        await Until.TrueAsync(() => Task.FromResult(receiver.Received.Count), count => count == 1);
        await origin.StopNodeAsync();
        receiver.Answer = _ => 200;
        await origin.StartNodeAsync();
        await NothingWaitsAsync(origin, Ready);
        Assert.Equal(2, receiver.Received.Count);
        Assert.Single(receiver.Received.Select(r => r.Id).Distinct());
    }

    [Fact]
    public async Task EventThatNobodyTakes_IsGivenUpInTheEnd()
    {
        await using var receiver = await HookReceiver.StartAsync();
        receiver.Answer = _ => 500;
        using var log = new CapturingLog();
        await using var origin = await OriginHarness.StartAsync(h =>
        {
            Tell(h, (receiver, null));
            h.Loggers = log;
        });
        await origin.PublishAsync();
        await Until.TrueAsync(() => Task.FromResult(receiver.Received.Count), count => count >= 2);
        Assert.True((await origin.ManifestAsync("catalog/tracks/t1.json")).TryGetProperty("announcements", out _));
        origin.Time.Advance(TimeSpan.FromDays(3) + TimeSpan.FromSeconds(1));
        await NothingWaitsAsync(origin, Ready);
        Assert.Contains("is given up", log.Text, StringComparison.Ordinal);
        Assert.DoesNotContain(receiver.Secret, log.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("/hook", log.Text, StringComparison.Ordinal);
        using var admin = new HttpClient { BaseAddress = origin.Node.AdminAddress };
        Assert.Contains("delivery_origin_webhooks_sent_total{outcome=\"gaveUp\"} 1", await admin.GetStringAsync("/metrics"), StringComparison.Ordinal);
    }

    [Fact]
    public void WrongReceivers_AreNamedAllAtOnce_WithoutTheirSecrets()
    {
        var path = Path.GetTempFileName();
        try
        {
            File.WriteAllText(path, "whsec_c2hvcnQ=\nhush-hush\n");
            var options = new OriginOptions
            {
                KeyRingPath = "k",
                Webhooks =
                [
                    new WebhookOptions { Url = "ftp://x", SecretPath = path, Events = ["track.lost"] },
                    new WebhookOptions { Url = "http://hooks.example/x", SecretPath = path + ".none" },
                    new WebhookOptions { Url = "https://user:pw@hooks.example/x" },
                ],
            };
            var problems = options.Validate();
            Assert.Equal(
                ["Webhooks[0].Url", "Webhooks[0].Events", "Webhooks[0].SecretPath", "Webhooks[1].Url", "Webhooks[1].SecretPath", "Webhooks[2].Url", "Webhooks[2].SecretPath"],
                problems.Select(p => p.Split(':')[0]));
            Assert.DoesNotContain(problems, p => p.Contains("hush", StringComparison.Ordinal) || p.Contains("c2hv", StringComparison.Ordinal) || p.Contains("pw", StringComparison.Ordinal));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void Tell(OriginHarness origin, params (HookReceiver Receiver, string[]? Events)[] hooks)
    {
        origin.Options.WebhookRetryDelay = TimeSpan.FromMilliseconds(10);
        origin.Options.Webhooks =
        [
            .. hooks.Select((hook, i) =>
            {
                var path = Path.Combine(origin.Folder, $"hook-{i}.secret");
                // Two secrets: while the receiver changes from one to the other.
                File.WriteAllText(path, $"whsec_{Convert.ToBase64String(new byte[24])}\n{hook.Receiver.Secret}\n");
                return new WebhookOptions { Url = hook.Receiver.Url, SecretPath = path, Events = hook.Events };
            }),
        ];
    }

    /// <summary>The track is in this state, and all receivers have been told.</summary>
    private static async Task NothingWaitsAsync(OriginHarness origin, string state) => await Until.TrueAsync(
        () => origin.ManifestAsync("catalog/tracks/t1.json"),
        track => track.GetProperty("state").GetString() == state && !track.TryGetProperty("announcements", out _));
}
