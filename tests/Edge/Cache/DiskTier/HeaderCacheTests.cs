using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.DiskTier;

public sealed class HeaderCacheTests
{
    [Fact]
    public void Header_IsKnownForItsRecordAlone()
    {
        var headers = new HeaderCache();
        var (key, place) = (TierWorld.Key(1), new ChunkLocation(0, 40, Chunk.SizeBytes));
        var header = TierWorld.Content(1, SegmentFormat.MaxRecordHeaderBytes);
        var found = new byte[header.Length];
        Assert.False(headers.TryGet(key, place, found));
        headers.Put(key, place, header);
        Assert.True(headers.TryGet(key, place, found));
        Assert.Equal(header, found);
        Assert.False(headers.TryGet(key, new(0, 48, Chunk.SizeBytes), found));
        Assert.False(headers.TryGet(key, new(1, 40, Chunk.SizeBytes), found));
        Assert.False(headers.TryGet(key, new(0, 40, 100), found));
        Assert.False(headers.TryGet(TierWorld.Key(2), place, found));
    }

    [Fact]
    public async Task WritersOfOnePlace_ReadersSeeWholeHeaders()
    {
        var headers = new HeaderCache();
        var key = TierWorld.Key(1);
        using var stop = new CancellationTokenSource();
        var readers = Enumerable.Range(0, 2).Select(r => Task.Run(() =>
        {
            var found = new byte[SegmentFormat.MaxRecordHeaderBytes];
            long hits = 0;
            for (var i = r; !stop.IsCancellationRequested; i++)
            {
                if (!headers.TryGet(key, new(i % 4, 40, Chunk.SizeBytes), found))
                    continue;
                hits++;
                if (found.Any(b => b != i % 4))
                    return -1;
            }

            return hits;
        })).ToArray();
        var header = new byte[SegmentFormat.MaxRecordHeaderBytes];
        for (var i = 0; i < 200_000; i++)
        {
            header.AsSpan().Fill((byte)(i % 4));
            headers.Put(key, new(i % 4, 40, Chunk.SizeBytes), header);
        }

        await stop.CancelAsync();
        Assert.All(await Task.WhenAll(readers), hits => Assert.True(hits >= 0, "A header of two records."));
    }
}
