using System.Buffers.Binary;
using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Jobs;

public sealed class BadMasterTests(SharedFarm shared)
{
    private readonly Farm _farm = shared.Farm;

    [Fact]
    public Task ZeroBytes() => IsRefusedAsync([], JobFailure.EmptyMaster, "no bytes");

    [Fact]
    public Task TextNamedFlac() => IsRefusedAsync(System.Text.Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("This is no music. ", 500))), JobFailure.UnsupportedFormat, "not a WAV", "flac");

    [Fact]
    public async Task FlacBehindALargeId3Tag()
    {
        const int Size = 4 << 20; // ffprobe looks past smaller ones. The size has 7 bits per byte (ID3v2.4 §6.2).
        byte[] tag = [.. "ID3"u8, 4, 0, 0, Size >> 21, (Size >> 14) & 127, 0, 0, .. new byte[Size]];
        await IsRefusedAsync([.. tag, .. await Tool.ConvertAsync(Wav(), "flac")], JobFailure.UnsupportedFormat, "ID3 tag", "flac");
    }

    [Fact]
    public async Task TruncatedFlac()
    {
        var flac = await Tool.ConvertAsync(Wav(), "flac");
        await IsRefusedAsync(flac[..(flac.Length * 2 / 3)], JobFailure.CorruptMaster, "damaged", "flac");
    }

    [Fact]
    public async Task FlacCutBetweenFrames()
    {
        // Nothing in it is broken: only the count of samples tells.
        var flac = await Tool.ConvertAsync(Wav(), "flac", "-frame_size", "4096");
        var cut = flac.AsSpan().LastIndexOf((ReadOnlySpan<byte>)[0xff, 0xf8]);
        await IsRefusedAsync(flac[..cut], JobFailure.CorruptMaster, "samples", "flac");
    }

    [Fact]
    public async Task FlacWithAFlippedBit()
    {
        var flac = await Tool.ConvertAsync(Wav(), "flac");
        flac[flac.Length / 2] ^= 0x10;
        await IsRefusedAsync(flac, JobFailure.CorruptMaster, "damaged", "flac");
    }

    [Fact]
    public async Task FlacWithoutLength()
    {
        var flac = await Tool.ConvertAsync(Wav(), "flac");
        flac[21] &= 0xf0; // 36 bits of total samples in STREAMINFO
        flac.AsSpan(22, 4).Clear();
        await IsRefusedAsync(flac, JobFailure.CorruptMaster, "how long", "flac");
    }

    [Theory]
    [InlineData(0u, "no audio")]
    [InlineData(uint.MaxValue, "does not say how long")]
    [InlineData(400_000u, "promises")]
    [InlineData(100_000u, "follow the end")]
    public Task WavThatLiesAboutItsLength(uint claimed, string expected)
    {
        var wav = (Master.OfSeconds(2) with { Sound = Master.Tone(0.5) }).ToWav();
        BinaryPrimitives.WriteUInt32LittleEndian(wav.AsSpan(40), claimed);
        return IsRefusedAsync(wav, JobFailure.CorruptMaster, expected);
    }

    [Theory]
    [InlineData("aiff")]
    [InlineData("w64")]
    public async Task TruncatedOtherContainer(string extension)
    {
        var bytes = await Tool.ConvertAsync(Master.OfSeconds(3).ToWav(), extension);
        await IsRefusedAsync(bytes[..((bytes.Length / 2) + 1)], JobFailure.CorruptMaster, "master", extension);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(6)]
    public Task MoreThanTwoChannels(int channels) => IsRefusedAsync(Wav(channels: channels), JobFailure.UnsupportedChannels, "mono or stereo");

    [Theory]
    [InlineData(8_000)]
    [InlineData(32_000)]
    [InlineData(352_800)]
    public Task WrongRate(int rate) => IsRefusedAsync(Wav(rate), JobFailure.UnsupportedSampleFormat, $"{rate} Hz");

    [Fact]
    public Task TooShort() => IsRefusedAsync(Master.OfSeconds(0.999).ToWav(), JobFailure.UnsupportedDuration, "shorter");

    [Theory]
    [InlineData("mp3", "libmp3lame", "MP3 file")]
    [InlineData("m4a", "alac", "convert ALAC to FLAC")]
    [InlineData("wav", "pcm_mulaw", "pcm_mulaw")]
    [InlineData("wav", "adpcm_ms", "adpcm_ms")]
    [InlineData("wav", "pcm_u8", "pcm_u8")]
    public async Task LossyOrUnusual(string extension, string codec, string expected) =>
        await IsRefusedAsync(await Tool.ConvertAsync(Wav(), extension, "-c:a", codec), JobFailure.UnsupportedFormat, expected, "wav");

    [Fact]
    public Task Dsd() => IsRefusedAsync([.. "DSD "u8, 28, .. new byte[91]], JobFailure.UnsupportedFormat, "convert it to PCM", "dsf");

    [Fact]
    public Task FloatThatIsNoNumber() =>
        IsRefusedAsync(new Master { Samples = 44_100, Bits = 32, IsFloat = true, Sound = (t, _) => t > 0.5 ? double.NaN : 0.1 }.ToWav(), JobFailure.CorruptMaster, "not numbers");

    [Fact]
    public Task ConstantOffset_ThatNoEncoderKeeps() => IsRefusedAsync((Master.OfSeconds(6) with { Sound = (_, _) => 0.5 }).ToWav(), JobFailure.CorruptMaster, "offset of 0.50");

    [Fact]
    public async Task OtherBytesThanTheCatalogNames()
    {
        var job = await _farm.UploadAsync(Wav()) with { MasterSha256 = new string('a', 64) };
        await IsRefusedAsync(job, JobFailure.MasterDigestMismatch, "upload it again");
    }

    [Fact]
    public async Task OtherLengthThanTheCatalogNames()
    {
        var job = await _farm.UploadAsync(Wav());
        await IsRefusedAsync(job with { MasterBytes = job.MasterBytes + 1 }, JobFailure.MasterDigestMismatch, "upload it again");
    }

    [Fact]
    public async Task MissingMaster()
    {
        var job = await _farm.UploadAsync(Wav()) with { MasterKey = "masters/none/none.wav", MasterSha256 = new string('b', 64) };
        await IsRefusedAsync(job, JobFailure.MasterMissing, "not in the store");
    }

    [Fact]
    public async Task TooManyBytes()
    {
        var job = await _farm.UploadAsync(Wav()) with { MasterBytes = 9L << 30, MasterSha256 = new string('c', 64) };
        await IsRefusedAsync(job, JobFailure.LimitExceeded, "8,589,934,592");
    }

    [Fact]
    public async Task LadderOfAnotherVersion()
    {
        var job = await _farm.UploadAsync(Wav()) with { Ladder = "default-99", MasterSha256 = new string('d', 64) };
        await IsRefusedAsync(job, JobFailure.Internal, "default-99");
    }

    private static byte[] Wav(int rate = 44_100, int channels = 2) => Master.OfSeconds(1.5, rate, channels: channels).ToWav();

    private async Task IsRefusedAsync(byte[] master, JobFailure failure, string says, string extension = "wav") =>
        await IsRefusedAsync(await _farm.UploadAsync(master, extension), failure, says);

    private async Task IsRefusedAsync(TranscodeJob job, JobFailure failure, string says)
    {
        var report = await _farm.RunAsync(job);
        Assert.Equal((JobPhase.Failed, failure, 1), (report.Phase, report.Failure, report.Attempt));
        Assert.Contains(says, report.Message, StringComparison.Ordinal);
        Assert.EndsWith(".", report.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(_farm.Folder, report.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(" @ 0x", report.Message, StringComparison.Ordinal);
        Assert.Null(report.ResultKey);
        Assert.Empty(await _farm.ListAsync($"catalog/renditions/{job.MasterSha256}/"));
    }
}
