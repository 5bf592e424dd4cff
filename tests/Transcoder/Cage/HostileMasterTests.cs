using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Cage;

/// <summary>Masters made to hurt, through whole jobs: each works or fails by name in its first attempt, reads and fetches nothing, and leaves nothing behind.</summary>
public sealed class HostileMasterTests(HostileMasterTests.OwnFarm own) : IClassFixture<HostileMasterTests.OwnFarm>
{
    private readonly Farm _farm = own.Farm;

    [Fact]
    public Task Bomb_LongerThanAMasterMayBe_IsNotDecoded() =>
        FailsAsync(HostileFlac.Bomb(12_112L * HostileFlac.FrameSamples, 12_112), JobFailure.UnsupportedDuration, "17999.");

    [Fact]
    public async Task Bomb_WithinTheLimits_IsAMasterLikeAnother()
    {
        // 12 s: 2 MB of PCM from 190 bytes. Whether silence is music is the quality rules' business.
        var report = await RunAsync(HostileFlac.Bomb(8 * HostileFlac.FrameSamples, 8));
        Assert.True(report.Phase == JobPhase.Done || report.Failure is not (JobFailure.Internal or JobFailure.LimitExceeded or JobFailure.VerificationFailed or JobFailure.EncoderFailed), $"{report}");
    }

    /// <summary>Two seconds says the header, and five hours follow: without a bound, a quarter of an hour of CPU in each of four attempts.</summary>
    [Fact]
    public Task EndlessFlac_IsStopped_SoonAfterItsDeclaredEnd() =>
        FailsAsync(HostileFlac.Bomb(2 * 44_100, 12_112), JobFailure.CorruptMaster, "promises 88200 samples and 132300 are there");

    [Theory]
    [InlineData(8, 16, JobFailure.CorruptMaster, "are there")] // ffprobe believes the first frame.
    [InlineData(2, 32, JobFailure.CorruptMaster, "damaged")]
    [InlineData(1, 4, JobFailure.UnsupportedSampleFormat, "bits per sample")]
    public Task FlacHeaderThatLies(int channels, int bits, JobFailure failure, string says) =>
        FailsAsync([.. HostileFlac.Header(44_100 * 60, channels, bits), .. HostileFlac.Bomb(0, 2)[42..]], failure, says);

    [Fact]
    public async Task TagsThatPointElsewhere_AreNotFollowed()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var url = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/a.jpg";
        string[] names = [url, "concat:/etc/passwd|/etc/hostname", "subfile,,start,0,end,100,,:/etc/passwd", "data:audio/wav;base64,UklGRg==", "../../store", "|id"];
        var comments = names.SelectMany(n => (string[])[$"CUESHEET=FILE \"{n}\" WAVE", $"METADATA_BLOCK_PICTURE={n}", $"COVERARTURL={n}", $"filename={n}"]).Select(System.Text.Encoding.UTF8.GetBytes).ToArray();
        var flac = await Tool.ConvertAsync(Wav(), "flac");
        Assert.Equal(JobPhase.Done, (await RunAsync(HostileFlac.With(flac, HostileFlac.Comments(comments), HostileFlac.Cues(url)))).Phase);
        // A picture that is a link: ffmpeg may call it damaged, and must not fetch it.
        var linked = await RunAsync(HostileFlac.With(flac, HostileFlac.Cover("-->", System.Text.Encoding.ASCII.GetBytes(url))));
        Assert.True(linked.Phase == JobPhase.Done || linked.Failure == JobFailure.CorruptMaster, $"{linked}");

        byte[] list = Chunk("LIST", [.. "INFO"u8, .. names.SelectMany(n => Chunk("IARL", [.. System.Text.Encoding.ASCII.GetBytes(n), 0]))]);
        byte[] cues = Chunk("cue ", [1, 0, 0, 0, .. new byte[24]]);
        Assert.Equal(JobPhase.Done, (await RunAsync(WithChunks(Wav(), list, cues, Chunk("PAD ", System.Text.Encoding.ASCII.GetBytes(url))))).Phase);
        Assert.False(listener.Pending());
    }

    [Fact]
    public async Task LargeTags_AreSkipped()
    {
        // No block of a FLAC file can be larger.
        var comment = HostileFlac.Comments([.. "LYRICS="u8, .. new byte[(16 << 20) - 100]]);
        var flac = await Tool.ConvertAsync(Wav(), "flac");
        var cover = new byte[12 << 20];
        new Random(1).NextBytes(cover);
        var report = await RunAsync(HostileFlac.With(flac, comment, HostileFlac.Cover("image/jpeg", cover)));
        Assert.True(report.Phase == JobPhase.Done, $"{report}");

        const int Size = 64 << 20;
        byte[] tag = [.. "ID3"u8, 4, 0, 0, Size >> 21, 0, 0, 0, .. "TXXX"u8, (Size - 10) >> 21, 127, 127, 118, 0, 0, 3, .. new byte[Size - 11]];
        var tagged = await RunAsync(WithChunks(Wav(), Chunk("id3 ", tag)));
        Assert.True(tagged.Phase == JobPhase.Done, $"{tagged}");
    }

    [Theory]
    [InlineData(65_535)]
    [InlineData(0)]
    public Task WavWithChannelsThatCannotBe(int channels)
    {
        var wav = Wav();
        BinaryPrimitives.WriteUInt16LittleEndian(wav.AsSpan(22), (ushort)channels);
        return FailsAsync(wav, JobFailure.UnsupportedFormat, "not a WAV");
    }

    [Theory]
    [InlineData(1L << 62)]
    [InlineData(-1L)]
    [InlineData(0L)]
    public Task Rf64ThatLies(long dataBytes)
    {
        var wav = Wav();
        byte[] ds64 = new byte[28];
        BinaryPrimitives.WriteInt64LittleEndian(ds64, long.MaxValue);
        BinaryPrimitives.WriteInt64LittleEndian(ds64.AsSpan(8), dataBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(ds64.AsSpan(24), uint.MaxValue); // entries of a table that is not there
        byte[] rf64 = [.. "RF64"u8, 255, 255, 255, 255, .. "WAVE"u8, .. Chunk("ds64", ds64), .. wav.AsSpan(12, 24), .. "data"u8, 255, 255, 255, 255, .. wav.AsSpan(44)];
        return FailsAsync(rf64, JobFailure.CorruptMaster, "damaged");
    }

    [Theory]
    [InlineData(22, 0xffff_ffff)] // COMM: frames
    [InlineData(16, 0x8000_0000)] // COMM: length of the chunk
    [InlineData(16, 0)]
    [InlineData(42, 0xffff_ffff)] // SSND: length of the chunk
    [InlineData(4, 0)] // FORM: length of all
    public async Task AiffThatLies(int at, uint value)
    {
        var aiff = Aiff(Wav());
        BinaryPrimitives.WriteUInt32BigEndian(aiff.AsSpan(at), value);
        var report = await RunAsync(aiff);
        Assert.True(report.Phase == JobPhase.Done || report.Failure is JobFailure.CorruptMaster or JobFailure.UnsupportedFormat or JobFailure.UnsupportedDuration or JobFailure.UnsupportedSampleFormat, $"{report}");
    }

    [Fact]
    public Task AiffOfNothingButForms() =>
        FailsAsync([.. "FORM"u8, 0, 1, 0, 0, .. "AIFF"u8, .. Enumerable.Range(0, 20_000).SelectMany(_ => (byte[])[.. "FORM"u8, 0, 0, 0, 0])], JobFailure.UnsupportedFormat, "not a WAV");

    [Theory]
    [InlineData(0L)]
    [InlineData(24L)]
    [InlineData(-8L)]
    [InlineData(long.MaxValue)]
    public async Task W64WhoseChunksLeadNowhere(long chunkBytes)
    {
        var w64 = await Tool.ConvertAsync(Wav(), "w64");
        // riff (40 bytes with wave), then fmt; a chunk of our own between, whose length leads back to itself, or out of the file.
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, chunkBytes);
        byte[] junk = [.. "junk"u8, .. w64.AsSpan(28, 12), .. length];
        var report = await RunAsync([.. w64.AsSpan(0, 40), .. junk, .. w64.AsSpan(40)]);
        Assert.True(report.Phase == JobPhase.Done || report.Failure is JobFailure.CorruptMaster or JobFailure.UnsupportedFormat, $"{report}");
    }

    private static byte[] Wav() => Master.OfSeconds(1.1, channels: 1).ToWav();

    private static byte[] Chunk(string id, byte[] content)
    {
        var size = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(size, content.Length);
        return [.. System.Text.Encoding.ASCII.GetBytes(id), .. size, .. content, .. new byte[content.Length & 1]];
    }

    private static byte[] WithChunks(byte[] wav, params byte[][] chunks)
    {
        using var all = new MemoryStream();
        all.Write(wav.AsSpan(0, 36));
        foreach (var chunk in chunks)
            all.Write(chunk);
        all.Write(wav.AsSpan(36));
        var bytes = all.ToArray();
        BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), bytes.Length - 8);
        return bytes;
    }

    /// <summary>FORM, COMM at 12 with its frames at 22, SSND at 38.</summary>
    private static byte[] Aiff(byte[] wav)
    {
        var aiff = new byte[54 + wav.Length - 44];
        "FORM"u8.CopyTo(aiff);
        BinaryPrimitives.WriteInt32BigEndian(aiff.AsSpan(4), aiff.Length - 8);
        "AIFFCOMM"u8.CopyTo(aiff.AsSpan(8));
        BinaryPrimitives.WriteInt32BigEndian(aiff.AsSpan(16), 18);
        aiff[21] = 1;
        BinaryPrimitives.WriteInt32BigEndian(aiff.AsSpan(22), (wav.Length - 44) / 2);
        aiff[27] = 16;
        byte[] rate = [0x40, 0x0e, 0xac, 0x44]; // 44,100 as an 80-bit float
        rate.CopyTo(aiff, 28);
        "SSND"u8.CopyTo(aiff.AsSpan(38));
        BinaryPrimitives.WriteInt32BigEndian(aiff.AsSpan(42), aiff.Length - 46);
        for (var i = 44; i + 1 < wav.Length; i += 2)
            (aiff[i + 10], aiff[i + 11]) = (wav[i + 1], wav[i]);
        return aiff;
    }

    private async Task FailsAsync(byte[] master, JobFailure failure, string says)
    {
        var report = await RunAsync(master);
        Assert.True((report.Phase, report.Failure) == (JobPhase.Failed, failure), $"{report}");
        Assert.Contains(says, report.Message, StringComparison.Ordinal);
    }

    private async Task<JobReport> RunAsync(byte[] master)
    {
        var job = await _farm.UploadAsync(master, "bin");
        var report = await _farm.RunAsync(job);
        Assert.Equal(1, report.Attempt);
        Assert.Equal("lock", Path.GetFileName(Assert.Single(Directory.GetFileSystemEntries(Assert.Single(Directory.GetDirectories(_farm.WorkFolder))))));
        if (report.Phase == JobPhase.Failed)
            Assert.Empty(await _farm.ListAsync($"catalog/renditions/{job.MasterSha256}/"));
        return report;
    }

    /// <summary>A worker that works for nobody else, so that whatever is in its folder was left.</summary>
    public sealed class OwnFarm : IAsyncLifetime
    {
        public Farm Farm { get; } = Farm.Create();

        public async ValueTask InitializeAsync() => await Farm.StartAsync();

        public ValueTask DisposeAsync() => Farm.DisposeAsync();
    }
}
