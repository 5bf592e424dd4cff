using Delivery.Origin.Catalog;
using Delivery.Origin.Playback;
using Delivery.Transcoder.Results;

namespace Delivery.Origin.Tests.Playback;

public class RenditionChoiceTests
{
    [Theory]
    [InlineData("premium", "high", "vorbis aac flac", "high vorbis")]
    [InlineData("premium", "high", "aac vorbis", "high aac")]
    [InlineData("premium", "low", "vorbis aac", "low aac")]
    [InlineData("premium", "lossless", "flac aac", "lossless flac")]
    [InlineData("premium", "hires", "flac", "hires flac")]
    [InlineData("premium", "lossless", "vorbis", "veryhigh vorbis")]
    [InlineData("premium", "low", "vorbis", "normal vorbis")]
    [InlineData("premium", "low", "flac", "lossless flac")]
    [InlineData("premium", "preview", "flac", null)]
    [InlineData("premium", "preview", "aac", "preview aac")]
    [InlineData("free", "hires", "vorbis aac flac", "high vorbis")]
    [InlineData("free", "veryhigh", "aac", "high aac")]
    [InlineData("free", "low", "vorbis", "normal vorbis")]
    [InlineData("free", "normal", "flac", null)]
    public void Chosen_IsTheNearestThatTierLadderAndCodecsAllow(string tier, string quality, string codecs, string? expected)
    {
        var choice = RenditionChoice.Choose(Renditions(TestFarm.FullLadder.Select(r => (r.Quality, r.Codec))), quality, codecs.Split(' '), tier);
        Assert.Equal(expected, choice.Count == 0 ? null : $"{choice[0].Quality} {choice[0].Codec}");
        var best = PlaybackRights.BestQuality(tier);
        Assert.All(choice, r => Assert.Contains(r.Codec, codecs.Split(' ')));
        Assert.All(choice, r => Assert.True(quality == "preview" ? r.Quality == "preview" : PlaybackRights.Qualities.Take(best + 1).Contains(r.Quality)));
    }

    [Fact]
    public void HiresWithoutHires_IsLossless_AndUnknownQualitiesAreIgnored()
    {
        var choice = RenditionChoice.Choose(Renditions([("spatial", "flac"), ("lossless", "flac"), ("high", "opus")]), "hires", ["flac", "vorbis"], "premium");
        Assert.Equal("lossless", Assert.Single(choice).Quality);
    }

    private static List<PublishedRendition> Renditions(IEnumerable<(string Quality, string Codec)> ladder) =>
    [.. ladder.Select(r => new PublishedRendition
    {
        Quality = r.Quality,
        Codec = r.Codec,
        CodecString = r.Codec,
        FileId = "f",
        Extension = "x",
        ContentType = "audio/x",
        Bytes = 1,
        Bitrate = 1,
        SampleRate = 44_100,
        Channels = 2,
        Gapless = new Gapless(0, 0, 1),
        FirstSoundBytes = 1,
        Sha256 = "s",
    })];
}
