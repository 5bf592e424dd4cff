using Delivery.Edge.Cache.Journal;

namespace Delivery.Edge.Tests.Cache.Journal;

public class JournalFormatTests
{
    private static readonly JournalEntry[] Entries =
    [
        JournalEntry.Purge(CacheGolden.PurgedPath, CacheGolden.PurgeSequence),
        JournalEntry.PurgeAll(40),
        JournalEntry.Pin(CacheGolden.Pinned),
        JournalEntry.Pin(CacheGolden.Pinned),
        JournalEntry.Unpin(CacheGolden.Pinned.Version),
    ];

    [Fact]
    public void Writing_GivesTheGoldenFile()
    {
        var bytes = new byte[(1 + Entries.Length) * JournalEntry.Bytes];
        Array.Fill(bytes, (byte)0xEE);
        JournalEntry.WriteHeader(bytes, CacheGolden.CacheId);
        for (var i = 0; i < Entries.Length; i++)
            Entries[i].Write(bytes.AsSpan((1 + i) * JournalEntry.Bytes));
        Assert.Equal(CacheGolden.Journal(), bytes);
    }

    [Fact]
    public void Reading_TheGoldenFile_GivesEveryField()
    {
        var golden = CacheGolden.Journal();
        Assert.True(JournalEntry.TryReadHeader(golden.AsSpan(0, JournalEntry.Bytes), out var id));
        Assert.Equal(CacheGolden.CacheId, id);
        for (var i = 0; i < Entries.Length; i++)
        {
            Assert.True(JournalEntry.TryRead(golden.AsSpan((1 + i) * JournalEntry.Bytes, JournalEntry.Bytes), out var entry));
            Assert.Equal(Entries[i], entry);
        }
    }

    [Fact]
    public void UnusedBytes_AreZeroOrTheEntryIsRefused()
    {
        // By kind: what may hold anything. With a good CRC, so that nothing else refuses them.
        foreach (var (entry, used) in new[] { (Entries[0], new[] { 8..24, 40..48 }), (Entries[1], [40..48]), (Entries[2], [8..56]), (Entries[4], [8..24]) })
        {
            for (var at = 4; at < 60; at++)
            {
                var bytes = new byte[JournalEntry.Bytes];
                entry.Write(bytes);
                bytes[at] ^= 1;
                Delivery.Edge.Cache.Segments.SegmentFormat.SealWithCrc(bytes);
                Assert.Equal(used.Any(r => at >= r.Start.Value && at < r.End.Value), JournalEntry.TryRead(bytes, out _));
            }
        }
    }

    [Fact]
    public void Numbers_BelowTheirBounds_AreRefused()
    {
        var bytes = new byte[JournalEntry.Bytes];
        foreach (var entry in new[]
        {
            Entries[0] with { Number = 0 }, Entries[0] with { Number = -1 }, Entries[1] with { Number = 0 }, Entries[2] with { Number = -1 }, Entries[2] with { ExpiresUnixSeconds = -1 },
            Entries[0] with { Kind = 0 }, Entries[0] with { Kind = (JournalEntryKind)5 },
        })
        {
            entry.Write(bytes);
            Assert.False(JournalEntry.TryRead(bytes, out _));
        }
    }
}
