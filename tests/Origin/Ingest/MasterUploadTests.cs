using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Origin.ApiKeys;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Tests.Ingest;

public class MasterUploadTests
{
    private static readonly byte[] Master = Encoding.UTF8.GetBytes("fLaC, or so it says");

    [Fact]
    public async Task NewMaster_IsStored_Recorded_AndItsJobEnqueued()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync(further: """, "availableFrom": "2026-12-24T00:00:00Z" """);
        using var response = await origin.PutMasterAsync(Master, headers: h => h.ContentType = new MediaTypeHeaderValue("audio/flac"));
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        var track = await OriginHarness.ReadAsync(response, ApiJson.Default.TrackStatus);
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(Master));
        Assert.Equal((TrackState.Queued, sha256, Master.LongLength, "a.flac"), (track.State, track.Master!.Sha256, track.Master.Bytes, track.Master.Filename));
        Assert.Equal($"/v1/jobs/{track.Job!.JobId}", response.Headers.Location?.ToString());
        Assert.Equal($"t1.{track.Master.UploadId}", track.Job.JobId);

        var key = Assert.Single(await origin.KeysAsync("masters/"));
        Assert.Equal($"masters/t1/{track.Master.UploadId}.flac", key);
        Assert.Equal(Master, await File.ReadAllBytesAsync(Path.Combine(origin.StoreFolder, key)));

        var job = (await origin.Farm.TakeAsync()).Job;
        Assert.Equal((track.Job.JobId, "t1", key, sha256, Master.LongLength, "default-1"), (job.JobId, job.TrackId, job.MasterKey, job.MasterSha256, job.MasterBytes, job.Ladder));
        Assert.Equal(new DateTimeOffset(2026, 12, 24, 0, 0, 0, TimeSpan.Zero), job.Deadline);
    }

    [Fact]
    public async Task SameBytesAgain_MakeNoJob_AndNoSecondObject()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        var first = await origin.UploadAsync(Master);
        using var again = await origin.PutMasterAsync(Master);
        Assert.Equal(HttpStatusCode.OK, again.StatusCode);
        Assert.Equal(first.Master!.UploadId, (await OriginHarness.ReadAsync(again, ApiJson.Default.TrackStatus)).Master!.UploadId);
        Assert.Single(await origin.KeysAsync("masters/"));
        await origin.Farm.FinishNextAsync();
        await origin.TrackBecomesAsync(TrackState.Ready);
        using var afterwards = await origin.PutMasterAsync(Master);
        Assert.Equal(HttpStatusCode.OK, afterwards.StatusCode);
        Assert.Equal(TrackState.Ready, (await origin.TrackAsync()).State);
    }

    [Theory]
    [InlineData(JobFailure.MasterMissing, HttpStatusCode.Accepted)]
    [InlineData(JobFailure.MasterDigestMismatch, HttpStatusCode.Accepted)]
    [InlineData(JobFailure.CorruptMaster, HttpStatusCode.OK)]
    [InlineData(JobFailure.WorkFolderFull, HttpStatusCode.OK)]
    public async Task SameBytesAgain_ReplaceAMasterThatTheStoreLost(JobFailure failure, HttpStatusCode expected)
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        var first = await origin.UploadAsync(Master);
        var lost = await origin.Farm.TakeAsync();
        File.Delete(Path.Combine(origin.StoreFolder, lost.Job.MasterKey));
        await origin.Farm.FailAsync(lost.Job, failure, "It is so.");
        await origin.TrackBecomesAsync(TrackState.Failed);

        using var again = await origin.PutMasterAsync(Master);

        Assert.Equal(expected, again.StatusCode);
        var isReplaced = expected == HttpStatusCode.Accepted;
        Assert.Equal(isReplaced, first.Master!.UploadId != (await origin.TrackAsync()).Master!.UploadId);
        if (isReplaced)
        {
            await origin.Farm.FinishNextAsync();
            await origin.TrackBecomesAsync(TrackState.Ready);
        }
    }

    [Fact]
    public async Task ParallelUploads_OfTheSameBytes_LeaveOneMaster_AndOneJob()
    {
        await using var origin = await OriginHarness.StartAsync();
        using var other = await origin.StartAnotherAsync();
        await origin.PutReleaseAsync();
        var uploads = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => origin.PutMasterAsync(Master, client: i % 2 == 0 ? origin.Client : other)));
        Assert.Equal(1, uploads.Count(u => u.StatusCode == HttpStatusCode.Accepted));
        Assert.Equal(7, uploads.Count(u => u.StatusCode == HttpStatusCode.OK));
        var key = Assert.Single(await origin.KeysAsync("masters/"));
        Assert.Contains((await origin.TrackAsync()).Master!.UploadId, key, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Digest_IsChecked_WhenSent()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        foreach (var name in new[] { "Repr-Digest", "Content-Digest" })
        {
            using var wrong = await origin.PutMasterAsync(Master, headers: h => h.TryAddWithoutValidation(name, $"sha-256=:{Convert.ToBase64String(new byte[32])}:"));
            await OriginHarness.ProblemAsync(wrong, 422, "digest-mismatch");
            using var unreadable = await origin.PutMasterAsync(Master, headers: h => h.TryAddWithoutValidation(name, "md5=:AAAA:"));
            Assert.Equal(name, Assert.Single((await OriginHarness.ProblemAsync(unreadable, 422, "validation")).Errors!).Pointer);
            Assert.Empty(await origin.KeysAsync("masters/"));
            Assert.Equal(TrackState.AwaitingMaster, (await origin.TrackAsync()).State);
        }

        using var right = await origin.PutMasterAsync(Master, headers: h => h.TryAddWithoutValidation("Repr-Digest", $"sha-256=:{Convert.ToBase64String(SHA256.HashData(Master))}:"));
        Assert.Equal(HttpStatusCode.Accepted, right.StatusCode);
    }

    [Theory]
    [InlineData("01 Dusk.FLAC", "audio/wav", ".flac")]
    [InlineData("no extension", "audio/x-wav", ".wav")]
    [InlineData("evil.../../x", "audio/aiff; x=y", ".aiff")]
    [InlineData("a.muchtoolong", "text/plain", ".bin")]
    [InlineData("", null, ".bin")]
    public async Task Extension_ComesFromNameOrType_AndCannotHurt(string filename, string? type, string extension)
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        using var content = new ByteArrayContent(Master);
        if (type is not null)
            content.Headers.TryAddWithoutValidation("Content-Type", type);
        using var response = await origin.Client.PutAsync($"/v1/releases/r1/tracks/t1/master?filename={Uri.EscapeDataString(filename)}", content);
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.EndsWith(extension, Assert.Single(await origin.KeysAsync("masters/t1/")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task WhatHeadersShow_IsRefusedBeforeTheBody()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        using var badName = await origin.Client.PutAsync("/v1/releases/r1/tracks/t1/master?filename=a%0Ab", new ByteArrayContent(Master));
        Assert.Equal("?filename", Assert.Single((await OriginHarness.ProblemAsync(badName, 422, "validation")).Errors!).Pointer);
        using var coded = await origin.PutMasterAsync(Master, headers: h => h.ContentEncoding.Add("gzip"));
        await OriginHarness.ProblemAsync(coded, 415, "media-type");
        using var unknownRelease = await origin.PutMasterAsync(Master, releaseId: "nope");
        await OriginHarness.ProblemAsync(unknownRelease, 404, "not-found");
        using var unknownTrack = await origin.PutMasterAsync(Master, trackId: "nope");
        await OriginHarness.ProblemAsync(unknownTrack, 404, "not-found");
        Assert.Empty(await origin.KeysAsync("masters/"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task NoBytes_AreRefused_AndTheEarlierMasterStays(bool lengthKnown)
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        var before = await origin.UploadAsync(Master);
        using var response = lengthKnown ? await origin.PutMasterAsync([]) : await origin.Client.PutAsync("/v1/releases/r1/tracks/t1/master", new Chunked([]));
        var problem = await OriginHarness.ProblemAsync(response, 422, "empty-master");
        Assert.Contains("no bytes", problem.Detail, StringComparison.Ordinal);
        Assert.Equal(before.Master, (await origin.TrackAsync()).Master);
        Assert.Single(await origin.KeysAsync("masters/"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task TooLarge_IsRefused_WithOrWithoutALength(bool lengthKnown)
    {
        await using var origin = await OriginHarness.StartAsync(h => h.Options.MaxMasterBytes = 1000);
        await origin.PutReleaseAsync();
        using var response = lengthKnown
            ? await origin.PutMasterAsync(new byte[1001])
            : await origin.Client.PutAsync("/v1/releases/r1/tracks/t1/master", new Chunked(new byte[1001]));
        var problem = await OriginHarness.ProblemAsync(response, 413, "too-large");
        Assert.Contains("1000 bytes", problem.Detail, StringComparison.Ordinal);
        Assert.Empty(await origin.KeysAsync("masters/"));
        using var fits = await origin.Client.PutAsync("/v1/releases/r1/tracks/t1/master", new Chunked(new byte[1000]));
        Assert.Equal(HttpStatusCode.Accepted, fits.StatusCode);
    }

    [Fact]
    public async Task ClientThatLeaves_LeavesNothing()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        var before = await origin.UploadAsync(Master);
        var writing = new TaskCompletionSource();
        origin.Store.BeforeWrite = key => { if (key.StartsWith("masters/", StringComparison.Ordinal)) writing.TrySetResult(); return Task.CompletedTask; };
        using (var socket = await SendAsync(origin, "Content-Length: 1000000", "some bytes"))
            await writing.Task.WaitAsync(Until.Limit);

        await Until.TrueAsync(() => Task.FromResult(Directory.GetFiles(Path.Combine(origin.StoreFolder, ".store", "tmp")).Length), n => n == 0);
        Assert.Single(await origin.KeysAsync("masters/"));
        Assert.Equal(before.Master, (await origin.TrackAsync()).Master);
        using var next = await origin.PutMasterAsync([1, 2, 3]);
        Assert.Equal(HttpStatusCode.Accepted, next.StatusCode);
    }

    [Fact]
    public async Task StalledClient_IsCutOff()
    {
        await using var origin = await OriginHarness.StartAsync(h =>
        {
            h.Options.UploadGrace = TimeSpan.FromSeconds(1.1);
            h.Options.MinUploadBytesPerSecond = 1_000_000;
        });
        await origin.PutReleaseAsync();
        using var socket = await SendAsync(origin, "Content-Length: 100000000", "some bytes");
        using var reader = new StreamReader(new NetworkStream(socket));
        using var limit = new CancellationTokenSource(Until.Limit);
        Assert.Equal("HTTP/1.1 408 Request Timeout", await reader.ReadLineAsync(limit.Token));
        Assert.Contains("/problems/timeout", await reader.ReadToEndAsync(limit.Token), StringComparison.Ordinal);
        Assert.Empty(await origin.KeysAsync("masters/"));
    }

    [Fact]
    public async Task UploadsBeyondTheBound_AreToldToComeBack()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.Options.MaxUploads = 1);
        await origin.PutReleaseAsync(trackIds: ["t1", "t2"]);
        var (writing, gate) = (new TaskCompletionSource(), new TaskCompletionSource());
        origin.Store.BeforeWrite = async key =>
        {
            if (key.StartsWith("masters/t1/", StringComparison.Ordinal))
            {
                writing.TrySetResult();
                await gate.Task;
            }
        };
        var first = origin.PutMasterAsync(Master);
        await writing.Task.WaitAsync(Until.Limit);
        using var second = await origin.PutMasterAsync(Master, "t2");
        await OriginHarness.ProblemAsync(second, 503, "busy");
        Assert.NotNull(second.Headers.RetryAfter);
        gate.SetResult();
        Assert.Equal(HttpStatusCode.Accepted, (await first).StatusCode);
        using var third = await origin.PutMasterAsync(Master, "t2");
        Assert.Equal(HttpStatusCode.Accepted, third.StatusCode);
    }

    [Fact]
    public async Task StoreThatFailsWhileRecording_LeavesTheEarlierMaster_AndARepeatSucceeds()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        var before = await origin.UploadAsync(Master);
        origin.Store.BeforeWrite = key => key.StartsWith("catalog/tracks/", StringComparison.Ordinal) ? throw new StoreException(StoreError.Unavailable, "gone") : Task.CompletedTask;
        using var failed = await origin.PutMasterAsync([1, 2, 3]);
        await OriginHarness.ProblemAsync(failed, 503, "no-changes");
        Assert.Equal(before.Master, (await origin.TrackAsync()).Master);
        origin.Store.BeforeWrite = _ => Task.CompletedTask;
        using var repeated = await origin.PutMasterAsync([1, 2, 3]);
        Assert.Equal(HttpStatusCode.Accepted, repeated.StatusCode);
    }

    [Fact]
    public async Task FullDisk_Is507_LosesNothing_AndWorksAgainWithSpace()
    {
        await using var disk = await SmallDisk.MountAsync();
        await using (var origin = await OriginHarness.StartAsync(storeFolder: disk.Path))
        {
            await origin.PutReleaseAsync();
            var before = await origin.UploadAsync(Master);
            foreach (HttpContent content in new HttpContent[] { new ByteArrayContent(new byte[4 << 20]), new Chunked(new byte[4 << 20]) })
            {
                using var full = await origin.Client.PutAsync("/v1/releases/r1/tracks/t1/master", content);
                var problem = await OriginHarness.ProblemAsync(full, 507, "storage-full");
                Assert.Contains("earlier master stays", problem.Detail, StringComparison.Ordinal);
            }

            Assert.Equal(before.Master, (await origin.TrackAsync()).Master);
            Assert.Single(await origin.KeysAsync("masters/"));
            using var fits = await origin.PutMasterAsync(new byte[1 << 19]);
            Assert.Equal(HttpStatusCode.Accepted, fits.StatusCode);
        }
    }

    /// <summary>Sends the head and the start of an upload, and leaves the rest to the test.</summary>
    private static async Task<Socket> SendAsync(OriginHarness origin, string header, string start)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Loopback, origin.Node.Address.Port);
        await socket.SendAsync(Encoding.UTF8.GetBytes(
            $"PUT /v1/releases/r1/tracks/t1/master HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {origin.SecretOf(ApiRole.Ingest)}\r\n{header}\r\n\r\n{start}"));
        return socket;
    }

    /// <summary>A body without Content-Length.</summary>
    private sealed class Chunked(byte[] bytes) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context) => await stream.WriteAsync(bytes);

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }

    /// <summary>A tmpfs of 2 MiB: a disk that is really full. Mounting takes root, as in CI; elsewhere the test is skipped and says so.</summary>
    private sealed class SmallDisk : IAsyncDisposable
    {
        private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-origin-disk-");

        public string Path => _folder.FullName;

        public static async Task<SmallDisk> MountAsync()
        {
            Assert.SkipUnless(Environment.IsPrivilegedProcess, "Mounting a small disk takes root.");
            var disk = new SmallDisk();
            await RunAsync("mount", "-t", "tmpfs", "-o", "size=2m", "delivery-test", disk.Path);
            return disk;
        }

        public async ValueTask DisposeAsync()
        {
            await RunAsync("umount", "-l", Path);
            _folder.Delete();
        }

        private static async Task RunAsync(string program, params string[] arguments)
        {
            using var process = Process.Start(program, arguments);
            await process.WaitForExitAsync();
            Assert.Equal(0, process.ExitCode);
        }
    }
}
