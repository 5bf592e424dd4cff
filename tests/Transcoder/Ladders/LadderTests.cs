using Delivery.Transcoder.Ladders;

namespace Delivery.Transcoder.Tests.Ladders;

public sealed class LadderTests
{
    [Fact]
    public void Default_HasEveryQuality()
    {
        Assert.Equal("default-1", Ladder.Default.Name);
        Assert.Equal([24, 96, 96, 160, 160, 320, 320, 96, 96], Ladder.Default.Rungs.Where(r => r.Bitrate is not null).Select(r => r.Bitrate / 1000));
        Assert.Equal(Ladder.Qualities.Order(), Ladder.Default.Rungs.Select(r => r.Quality).Distinct().Order());
    }

    [Fact]
    public void EveryProblem_IsReportedAtOnce()
    {
        var error = Assert.Throws<LadderException>(() => Ladder.Parse("""
            { "format": 2, "name": "Bad Name", "rungs": [
              { "quality": "best", "codec": "Vorbis", "bitrate": 1 },
              { "quality": "normal", "codec": "Aac", "bitrate": 96000, "sampleRate": 8000 },
              { "quality": "normal", "codec": "Aac", "bitrate": 96000 },
              { "quality": "low", "codec": "HeAacV2", "bitrate": 24000 },
              { "quality": "lossless", "codec": "Flac", "bitrate": 1000, "sampleRate": 44100 },
              { "quality": "preview", "codec": "Vorbis", "bitrate": 96000 } ] }
            """u8));
        string[] expected =
        [
            "format", "name is 'Bad Name'", "normal Aac is there 2 times", "rungs[0].quality", "rungs[0].bitrate", "rungs[1].sampleRate", "rungs[3].fallback is missing",
            "rungs[4].bitrate", "rungs[4]: sampleRate and bitsPerSample", "rungs[5].excerpt is false",
        ];
        Assert.Equal(expected.Length, error.Problems.Count);
        Assert.All(expected, e => Assert.Contains(error.Problems, p => p.Contains(e, StringComparison.Ordinal)));
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{\"format\":1,\"name\":\"a-1\",\"rungs\":null}")]
    [InlineData("{\"format\":1,\"name\":\"a-1\",\"rungs\":[null]}")]
    [InlineData("{\"format\":1,\"name\":\"a-1\",\"rungs\":[],\"unknown\":1}")]
    public void Nonsense_IsRefused(string json) =>
        Assert.Throws<LadderException>(() => Ladder.Parse(System.Text.Encoding.UTF8.GetBytes(json)));
}
