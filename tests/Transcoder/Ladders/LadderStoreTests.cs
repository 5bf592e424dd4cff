using Delivery.ObjectStore;
using Delivery.Transcoder.Ladders;

namespace Delivery.Transcoder.Tests.Ladders;

public sealed class LadderStoreTests : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("delivery-ladders-");
    private readonly FileStore _store;
    private readonly LadderStore _ladders;

    public LadderStoreTests()
    {
        _store = FileStore.Open(_folder.FullName);
        _ladders = new LadderStore(_store);
    }

    [Fact]
    public async Task AddedLadder_IsFoundByItsName_AsItWas_AndListed()
    {
        Assert.Same(Ladder.Default, await _ladders.FindAsync("default-1", default));
        Assert.Null(await _ladders.FindAsync("radio-1", default));
        Assert.Null(await _ladders.FindAsync("../audio/x-1", default));
        Assert.Equal((true, true), await _ladders.AddAsync(Named("radio-1", 96_000), default));
        var found = (await new LadderStore(_store).FindAsync("radio-1", default))!;
        Assert.Equal(Named("radio-1", 96_000).ToJson(), found.ToJson());
        Assert.Equal((RungCodec.Vorbis, 96_000), (found.Rungs[0].Codec, found.Rungs[0].Bitrate));
        Assert.Equal(["default-1", "radio-1"], await _ladders.ListAsync(default).ToListAsync());
    }

    [Fact]
    public async Task TakenName_TakesTheSameLadderAgain_AndNoOther()
    {
        await _ladders.AddAsync(Named("radio-1", 96_000), default);
        foreach (var ladders in new[] { _ladders, new LadderStore(_store) })
        {
            Assert.Equal((true, false), await ladders.AddAsync(Named("radio-1", 96_000), default));
            Assert.Equal((false, false), await ladders.AddAsync(Named("radio-1", 128_000), default));
            Assert.Equal((true, false), await ladders.AddAsync(Ladder.Default, default));
            Assert.Equal((false, false), await ladders.AddAsync(Named("default-1", 96_000), default));
        }

        Assert.Equal(96_000, (await new LadderStore(_store).FindAsync("radio-1", default))!.Rungs[0].Bitrate);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{"format":1,"name":"other-1","rungs":[{"quality":"normal","codec":"Vorbis","bitrate":96000}]}""")]
    public async Task WhatIsNoLadderOfThatName_IsAFaultOfTheStore(string json)
    {
        await _store.WriteAsync(ObjectKey.Parse("ladders/radio-1.json"), new MemoryStream(System.Text.Encoding.UTF8.GetBytes(json)), new ObjectWrite { ContentType = "application/json" }, default);
        Assert.Equal(StoreError.Corrupt, (await Assert.ThrowsAsync<StoreException>(async () => await _ladders.FindAsync("radio-1", default))).Error);
    }

    public void Dispose()
    {
        _store.Dispose();
        _folder.Delete(recursive: true);
    }

    private static Ladder Named(string name, int bitrate) =>
        Ladder.Parse(System.Text.Encoding.UTF8.GetBytes($$"""{"format":1,"name":"{{name}}","rungs":[{"quality":"normal","codec":"Vorbis","bitrate":{{bitrate}}}]}"""));
}
