using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Probing;

namespace Delivery.Transcoder.Tests.Probing;

/// <summary>The rules at their bounds, where a file would be gigabytes.</summary>
public sealed class ProberTests
{
    [Theory]
    [InlineData(44_100L, null)]
    [InlineData(44_099L, JobFailure.UnsupportedDuration)]
    [InlineData(4 * 3_600 * 44_100L, null)]
    [InlineData((4 * 3_600 * 44_100L) + 1, JobFailure.UnsupportedDuration)]
    [InlineData(0L, JobFailure.CorruptMaster)]
    public void Duration_OneSecondToFourHours_Inclusive(long samples, JobFailure? refused) => Judge(Stream() with { DurationTs = samples }, refused);

    [Theory]
    [InlineData(44_100, null)]
    [InlineData(192_000, null)]
    [InlineData(44_099, JobFailure.UnsupportedSampleFormat)]
    [InlineData(352_800, JobFailure.UnsupportedSampleFormat)]
    [InlineData(0, JobFailure.UnsupportedSampleFormat)]
    public void Rates_OfMusicProduction(int rate, JobFailure? refused) => Judge(Stream() with { SampleRate = $"{rate}", DurationTs = 500_000 }, refused);

    [Theory]
    [InlineData(0, "20", JobFailure.UnsupportedSampleFormat)]
    [InlineData(0, "24", null)]
    [InlineData(16, "N/A", null)]
    [InlineData(0, null, null)] // s16 says it too
    public void Bits_WhereverTheyStand(int bits, string? raw, JobFailure? refused) => Judge(Stream() with { BitsPerSample = bits, BitsPerRawSample = raw }, refused);

    private static ProbedStream Stream() => new("flac", "s16", "44100", 2, 16, "16", 441_000);

    private static void Judge(ProbedStream stream, JobFailure? refused)
    {
        var probed = new ProbeOutput([stream], new ProbedFormat("flac"));
        if (refused is { } failure)
            Assert.Equal(failure, Assert.Throws<JobException>(() => Prober.Judge(probed, new TranscoderOptions())).Failure);
        else
            Assert.Equal(stream.DurationTs, Prober.Judge(probed, new TranscoderOptions()).Samples);
    }
}
