using System.Collections.Concurrent;
using Delivery.ObjectStore.Copying;
using Delivery.ObjectStore.Files;

namespace Delivery.ObjectStore.Failover;

/// <summary>A real S3 server as one of the two stores, killed in the middle of it all.</summary>
public sealed class RadosGatewayFailoverTests : IAsyncLifetime
{
    private static readonly ObjectKey Manifest = ObjectKey.Parse("catalog/tracks/t.json");
    private readonly TempFolder _folder = new();
    private RadosGateway _gateway = null!;
    private string _bucket = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        // One of its own: it is killed.
        _gateway = await RadosGateway.StartAsync();
        Environment.SetEnvironmentVariable("AWS_ACCESS_KEY_ID", RadosGateway.AccessKey);
        Environment.SetEnvironmentVariable("AWS_SECRET_ACCESS_KEY", RadosGateway.SecretKey);
        Environment.SetEnvironmentVariable("AWS_EC2_METADATA_DISABLED", "true");
        _bucket = await _gateway.NewBucketAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _gateway.DisposeAsync();
        _folder.Dispose();
    }

    /// <summary>
    /// Players read and an origin takes uploads while the gateway is killed, stays away, and comes back: no playback fails, no manifest that may be old passes for a new one, and every upload
    /// that was acknowledged, before or after, is whole in both stores.
    /// </summary>
    [Fact]
    public async Task PrimaryKilledInMidReadAndMidUpload_NoPlaybackFails_NoUploadIsLost()
    {
        // Far more than the buffers of two sockets hold, so that a kill is felt in the middle.
        const int Songs = 4;
        // No hedges, which would let a busy machine read from the secondary before anything is killed.
        var options = new FailoverOptions { Sweeps = true, FirstByteTimeout = TimeSpan.FromSeconds(10), Hedging = false };
        await using var store = FailoverStore.Open(Bucket(), FileStore.Open(_folder.Path), options, null, TimeProvider.System);
        var songs = Enumerable.Range(0, Songs).ToDictionary(i => ObjectKey.Parse($"audio/{i}.ogg"), i => TestContent.Bytes(30_000_000 + i, i));
        foreach (var (key, bytes) in songs)
            await store.PutAsync(key, bytes);
        await store.PutAsync(Manifest, "1"u8.ToArray());
        Assert.True(await store.FlushAsync(TimeSpan.FromSeconds(60), Token));

        // A replaced manifest that the secondary does not have: from there it is old.
        using (var secondary = FileStore.Open(_folder.Path))
            await secondary.PutAsync(Manifest, "old"u8.ToArray());

        using var stop = new CancellationTokenSource();
        var (played, fresh, marked, refused) = (0, 0, 0, 0);
        var acknowledged = new ConcurrentDictionary<ObjectKey, byte[]>();
        var listeners = Enumerable.Range(0, 4).Select(n => Task.Run(async () =>
        {
            var random = new Random(n);
            var buffer = new byte[256 * 1024];
            while (!stop.IsCancellationRequested)
            {
                // At a pace, so that many are in the middle of a song at any time.
                var (key, bytes) = songs.ElementAt(random.Next(Songs));
                await using (var read = (await store.OpenReadAsync(key, null, Token))!)
                {
                    var at = 0;
                    int count;
                    while ((count = await read.Content.ReadAsync(buffer, Token)) > 0)
                    {
                        Assert.True(buffer.AsSpan(0, count).SequenceEqual(bytes.AsSpan(at, count)), $"Other bytes of {key} near {at}.");
                        at += count;
                        await Task.Delay(10, Token);
                    }

                    Assert.Equal(bytes.Length, at);
                }

                Interlocked.Increment(ref played);
                var (info, manifest) = (await store.GetAsync(Manifest))!.Value;
                Assert.Equal(info.MayBeStale, manifest.AsSpan().SequenceEqual("old"u8));
                Interlocked.Increment(ref info.MayBeStale ? ref marked : ref fresh);
            }
        }, Token)).ToArray();
        var uploaders = Enumerable.Range(0, 2).Select(n => Task.Run(async () =>
        {
            for (var i = 0; !stop.IsCancellationRequested; i++)
            {
                var (key, bytes) = (ObjectKey.Parse($"masters/{n}/{i}.wav"), TestContent.Bytes(20_000_000, n * 1000 + i));
                while (!stop.IsCancellationRequested)
                {
                    try
                    {
                        await store.WriteAsync(key, new PacedStream(bytes), new ObjectWrite { ContentType = "audio/wav", ExpectedLength = bytes.Length }, Token);
                        acknowledged[key] = bytes;
                        break;
                    }
                    catch (StoreException e) when (e.Error == StoreError.Unavailable)
                    {
                        Interlocked.Increment(ref refused);
                        await Task.Delay(200, Token);
                    }
                }

                if (acknowledged.Count >= 8)
                    await Task.Delay(500, Token);
            }
        }, Token)).ToArray();

        await UntilAsync(() => played >= 2 && !acknowledged.IsEmpty, "the first songs and uploads");
        var before = acknowledged.Count;
        var (heard, song) = songs.First();
        await using var halfway = (await store.OpenReadAsync(heard, null, Token))!;
        var whole = new byte[song.Length];
        await halfway.Content.ReadExactlyAsync(whole.AsMemory(0, 1000), Token);
        _gateway.KillGateway();
        await halfway.Content.ReadExactlyAsync(whole.AsMemory(1000), Token);
        Assert.True(whole.AsSpan().SequenceEqual(song));
        var playedBefore = Volatile.Read(ref played);
        await UntilAsync(() => Volatile.Read(ref played) >= playedBefore + 8 && Volatile.Read(ref refused) > 0 && Volatile.Read(ref marked) > 0, "songs while it is away");
        Assert.All(listeners.Concat(uploaders), t => Assert.False(t.IsFaulted, $"{t.Exception}"));
        var (takenOver, whileAway) = (store.Metrics.TakeOvers, acknowledged.Count);

        await _gateway.RestartGatewayAsync();
        await UntilAsync(() => acknowledged.Count >= whileAway + 2, "uploads after it is back");
        var freshBefore = Volatile.Read(ref fresh);
        await UntilAsync(() => Volatile.Read(ref fresh) > freshBefore, "fresh manifests");
        await stop.CancelAsync();
        await Task.WhenAll(listeners);
        await Task.WhenAll(uploaders);
        TestContext.Current.TestOutputHelper!.WriteLine(
            $"{played} songs ({takenOver} taken over in the middle), manifests {fresh} fresh and {marked} marked, uploads {before} before, {acknowledged.Count} in all, {refused} refused");
        Assert.True(takenOver > 0);

        await UntilAsync(() => store.Pending == 0, "everything is replicated");
        using var bucket = Bucket();
        using var folder = FileStore.Open(_folder.Path);
        foreach (var (key, bytes) in acknowledged)
        {
            Assert.Equal(bytes, (await bucket.GetAsync(key))!.Value.Bytes);
            Assert.Equal(bytes, (await folder.GetAsync(key))!.Value.Bytes);
        }
    }

    /// <summary>The bucket as secondary: conditional copies, markers, roles and promotion work on a real S3 server as they do on folders.</summary>
    [Fact]
    public async Task BucketAsSecondary_Follows_IsPromoted_AndFollowedByTheFolder()
    {
        await using var store = FailoverStore.Open(FileStore.Open(_folder.Path), Bucket(), new() { Sweeps = true, FirstByteTimeout = TimeSpan.FromSeconds(5) }, null, TimeProvider.System);
        await Task.WhenAll(Enumerable.Range(0, 4).Select(n => Task.Run(async () =>
        {
            for (var i = 0; i < 20; i++)
            {
                if (i % 6 == 5)
                    await store.DeleteAsync(ObjectKey.Parse($"catalog/tracks/{i % 3}.json"), Token);
                else
                    await store.PutAsync(ObjectKey.Parse($"catalog/tracks/{i % 3}.json"), TestContent.Bytes(1000 + n * 100 + i, n));
                await store.PutAsync(ObjectKey.Parse($"audio/{n}-{i}.ogg"), TestContent.Bytes(30_000, i));
            }
        }, Token)));
        Assert.True(await store.FlushAsync(TimeSpan.FromSeconds(60), Token));
        using var folder = FileStore.Open(_folder.Path);
        using var bucket = Bucket();
        await AssertSameAsync(folder, bucket);

        var report = await StorePromotion.PromoteAsync(bucket, folder, new(), TimeProvider.System, Token);
        Assert.Equal((2, true), (report.Epoch, report.IsPlanned));
        await UntilAsync(() => store.Primary == 1, "the node sees it");
        await store.PutAsync(Manifest, "to the bucket"u8.ToArray());
        Assert.True(await store.FlushAsync(TimeSpan.FromSeconds(60), Token));
        Assert.Equal("to the bucket"u8.ToArray(), (await bucket.GetAsync(Manifest))!.Value.Bytes);
        // The promotion's own entry in the control log has no writer but the sweep.
        await UntilAsync(() => File.Exists(_folder["control/log/0002-0000000000000001.json"]), "the sweep");
        await AssertSameAsync(bucket, folder);

        async Task AssertSameAsync(IObjectStore from, IObjectStore to)
        {
            var done = await StoreReconciler.RunAsync(from, to, new() { Comparison = new() { Verify = true } }, null, Token);
            Assert.Equal((0L, 0L, 0L, 0L), (done.Missing, done.Different, done.Extra, done.NotCompared));
            Assert.True(done.Equal >= 80);
        }
    }

    private IObjectStore Bucket() => ObjectStores.Open(StoreUrl.Parse(_gateway.Url(_bucket)), new() { Retries = 0 });

    private static async Task UntilAsync(Func<bool> condition, string what)
    {
        for (var i = 0; i < 1800; i++)
        {
            if (condition())
                return;
            await Task.Delay(100, Token);
        }

        Assert.Fail($"Not within 3 minutes: {what}");
    }

    /// <summary>A client's upload that takes a second or two, so that a kill finds it in the middle.</summary>
    private sealed class PacedStream(byte[] bytes) : ForwardStream
    {
        private int _at;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Delay(5, cancellationToken);
            var count = Math.Min(Math.Min(buffer.Length, 128 * 1024), bytes.Length - _at);
            bytes.AsMemory(_at, count).CopyTo(buffer);
            _at += count;
            return count;
        }
    }
}
