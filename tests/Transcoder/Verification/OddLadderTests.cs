namespace Delivery.Transcoder.Tests.Verification;

/// <summary>Operators write ladders; whatever <c>Ladder.Parse</c> takes has to be made and to pass.</summary>
public sealed class OddLadderTests
{
    private const string Rungs = """
        {"quality":"low","codec":"Vorbis","bitrate":32000,"sampleRate":22050,"channels":1},
        {"quality":"low","codec":"Aac","bitrate":48000,"sampleRate":22050},
        {"quality":"normal","codec":"Vorbis","bitrate":80000,"channels":1},
        {"quality":"normal","codec":"Aac","bitrate":64000,"sampleRate":48000,"channels":1,"fragmentSeconds":10},
        {"quality":"high","codec":"Vorbis","bitrate":192000,"sampleRate":48000},
        {"quality":"high","codec":"Flac","sampleRate":22050,"bitsPerSample":16},
        {"quality":"lossless","codec":"Flac","sampleRate":48000,"bitsPerSample":24},
        {"quality":"preview","codec":"Vorbis","bitrate":64000,"sampleRate":48000,"channels":1,"excerpt":true}
        """;

    [Theory]
    [InlineData(44_100, 16, 1)]
    [InlineData(96_000, 24, 2)]
    [InlineData(48_000, 24, 2)]
    public async Task OtherRatesDepthsAndChannels_PassVerification(int rate, int bits, int channels)
    {
        using var bench = await Bench.EncodeAsync(Master.OfSeconds(5.2, rate, bits, channels).ToWav(), Rungs);
        var verified = await bench.VerifyAsync();
        Assert.Equal(
            [(22_050, 1), (22_050, 2), (44_100, 1), (48_000, 1), (48_000, 2), (22_050, channels), (48_000, channels), (48_000, 1)],
            verified.Select(v => (v.Planned.SampleRate, v.Planned.Channels)));
        Assert.All(verified, v => Assert.Equal(v.Planned.Rung.Excerpt ? 2 : 5.2, (double)v.Gapless.TotalSamples / v.Planned.SampleRate, 0.0001));
        Assert.All(verified, v => Assert.NotNull(v.IntegratedLufs));
    }
}
