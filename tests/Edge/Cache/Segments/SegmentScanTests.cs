using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.Segments;

public class SegmentScanTests
{
    private static readonly SegmentEntry[] Entries = [.. CacheGolden.Records.Zip(CacheGolden.Offsets, (r, o) => new SegmentEntry(r, o))];

    [Fact]
    public void Sealed_GivesTheFooter()
    {
        var (scan, entries) = Scan(CacheGolden.Segment());
        Assert.Equal(new(SegmentState.Sealed, CacheGolden.Header, CacheGolden.Offsets[^1]), scan);
        Assert.Equal(Entries, entries);
    }

    [Fact]
    public void EveryLength_GivesTheRecordsThatAreWhole()
    {
        var golden = CacheGolden.Segment();
        for (var length = 0; length < golden.Length; length++)
        {
            // The long payload makes 16,000 lengths of the same kind.
            if (length is > 200 and < 16_400)
                length += 100;
            var (scan, entries) = Scan(golden[..length]);
            var whole = Entries.TakeWhile(e => e.Offset + SegmentFormat.RecordBytes(e.Record.Length) <= length).ToArray();
            Assert.Equal(
                length < SegmentFormat.SegmentHeaderBytes ? new(SegmentState.Unreadable, default, 0) : new(SegmentState.Unsealed, CacheGolden.Header, CacheGolden.Offsets[whole.Length]),
                scan);
            Assert.Equal(whole, entries);
        }
    }

    [Fact]
    public void DamagedFooter_GivesTheRecordsByTheirHeaders()
    {
        var golden = CacheGolden.Segment();
        for (var at = (int)CacheGolden.Offsets[^1]; at < golden.Length; at++)
        {
            var bytes = golden.ToArray();
            bytes[at] ^= 0x10;
            var (scan, entries) = Scan(bytes);
            Assert.Equal(new(SegmentState.Unsealed, CacheGolden.Header, CacheGolden.Offsets[^1]), scan);
            Assert.Equal(Entries, entries);
        }
    }

    [Fact]
    public void DamagedHeader_EndsTheChainBeforeIt()
    {
        var golden = CacheGolden.Segment()[..(int)CacheGolden.Offsets[^1]];
        for (var i = 0; i < Entries.Length; i++)
        {
            var bytes = golden.ToArray();
            bytes[(int)Entries[i].Offset + 20] ^= 1;
            var (scan, entries) = Scan(bytes);
            Assert.Equal(new(SegmentState.Unsealed, CacheGolden.Header, CacheGolden.Offsets[i]), scan);
            Assert.Equal(Entries[..i], entries);
        }
    }

    [Fact]
    public void ZerosBehindTheLastRecord_AreItsEnd()
    {
        // A file whose length reached the disk before its bytes did.
        byte[] bytes = [.. CacheGolden.Segment()[..(int)CacheGolden.Offsets[2]], .. new byte[300_000]];
        var (scan, entries) = Scan(bytes);
        Assert.Equal(new(SegmentState.Unsealed, CacheGolden.Header, CacheGolden.Offsets[2]), scan);
        Assert.Equal(Entries[..2], entries);
    }

    [Fact]
    public void ForgedFooterInAPayload_IsNotBelieved()
    {
        // The last record of an unsealed file is a stranger's: it ends as a segment would, and names a "record" inside itself.
        Assert.Equal(SegmentState.Unsealed, Forged(Guid.Empty).State);
        Assert.Equal(SegmentState.Unsealed, Forged(Guid.NewGuid()).State);
        // It is only the cache id that tells: whoever knows it can forge.
        Assert.Equal(SegmentState.Sealed, Forged(CacheGolden.CacheId).State);

        static SegmentScan Forged(Guid guess)
        {
            const int RecordBytes = 400;
            var (at, headerBytes) = ((int)CacheGolden.Offsets[1], SegmentFormat.RecordHeaderBytes(RecordBytes));
            var bytes = new byte[at + RecordBytes];
            CacheGolden.Segment().AsSpan(0, at).CopyTo(bytes);
            var footerAt = bytes.Length - SegmentFormat.FooterBytes(1);
            var invented = new SegmentEntry(CacheGolden.Records[0] with { Length = 8 }, at + headerBytes + 4);
            SegmentFormat.WriteFooter(bytes.AsSpan(footerAt), [invented], CacheGolden.Header with { CacheId = guess }, footerAt);
            Assert.Equal(RecordBytes, SegmentFormat.Seal(bytes.AsSpan(at), CacheGolden.Records[1] with { Length = RecordBytes - headerBytes }));
            var (scan, entries) = Scan(bytes);
            Assert.Equal(scan.State == SegmentState.Sealed, entries.Contains(invented));
            return scan;
        }
    }

    [Fact]
    public void RecordsInsideAPayload_AreNotLookedFor()
    {
        // A damaged header in front of a payload that holds a whole record.
        var inner = CacheGolden.Segment().AsSpan((int)CacheGolden.Offsets[1], 168);
        var head = CacheGolden.Records[0] with { Length = 168 };
        var bytes = new byte[SegmentFormat.SegmentHeaderBytes + SegmentFormat.RecordBytes(168)];
        SegmentFormat.WriteSegmentHeader(bytes, CacheGolden.Header);
        var record = bytes.AsSpan(SegmentFormat.SegmentHeaderBytes);
        inner.CopyTo(record[SegmentFormat.RecordHeaderBytes(168)..]);
        SegmentFormat.Seal(record, head);
        Assert.Single(Scan(bytes).Entries);
        record[10] ^= 1;
        var (scan, entries) = Scan(bytes);
        Assert.Empty(entries);
        Assert.Equal(SegmentFormat.SegmentHeaderBytes, scan.Tail);
    }

    [Fact]
    public void ManyRecords_OfManySizes_AreAllFoundWithOneReadEachAtMost()
    {
        var random = new Random(5);
        var disk = new FaultyDisk();
        using var file = disk.Create("s");
        var buffer = new byte[SegmentFormat.MaxRecordBytes];
        SegmentFormat.WriteSegmentHeader(buffer, CacheGolden.Header);
        file.Write(0, buffer.AsSpan(0, SegmentFormat.SegmentHeaderBytes));
        long at = SegmentFormat.SegmentHeaderBytes;
        List<SegmentEntry> written = [];
        for (var i = 0; i < 400; i++)
        {
            var head = CacheGolden.Records[0] with { Key = new(CacheGolden.Records[0].Key.Object, i), Length = i % 10 == 0 ? random.Next(1, Chunk.SizeBytes + 1) : random.Next(1, 700) };
            var bytes = SegmentFormat.Seal(buffer, head);
            file.Write(at, buffer.AsSpan(0, bytes));
            written.Add(new(head, at));
            at += bytes;
        }

        using var reads = disk.Count(DiskOperations.Read);
        List<SegmentEntry> entries = [];
        Assert.Equal(new(SegmentState.Unsealed, CacheGolden.Header, at), SegmentScan.Of(file, entries));
        Assert.Equal(written, entries);
        Assert.InRange(reads.Hits, 40, 150);
    }

    [Fact]
    public void DiskFails_IsAnErrorAndNoEntry()
    {
        var disk = new FaultyDisk();
        using var file = disk.Create("s");
        file.Write(0, CacheGolden.Segment().AsSpan(0, (int)CacheGolden.Offsets[^1]));
        for (var read = 0; read < 4; read++)
        {
            using var rule = disk.Fail(DiskOperations.Read, FaultyDisk.EIO, skip: read, times: 1);
            List<SegmentEntry> entries = [Entries[0]];
            Assert.ThrowsAny<IOException>(() => SegmentScan.Of(file, entries));
            Assert.Equal([Entries[0]], entries);
        }
    }

    [Fact]
    public void RandomDamage_NeverThrowsAndNeverInventsARecord()
    {
        var golden = CacheGolden.Segment();
        var random = new Random(8);
        for (var i = 0; i < 3000; i++)
        {
            var bytes = golden[..(random.Next(4) == 0 ? random.Next(golden.Length) : golden.Length)];
            for (var damage = random.Next(1, 6); damage > 0 && bytes.Length > 0; damage--)
            {
                var at = random.Next(4) == 0 ? random.Next(bytes.Length) : Math.Min(bytes.Length - 1, (int)CacheGolden.Offsets[random.Next(4)] + random.Next(80));
                var span = bytes.AsSpan(at, Math.Min(random.Next(1, 40), bytes.Length - at));
                if (random.Next(2) == 0)
                    random.NextBytes(span);
                else
                    span.Clear();
            }

            Assert.All(Scan(bytes).Entries, e => Assert.Contains(e, Entries));
        }
    }

    private static (SegmentScan Scan, List<SegmentEntry> Entries) Scan(byte[] bytes)
    {
        var disk = new MemoryDisk();
        using var file = disk.Create("s");
        file.Write(0, bytes);
        List<SegmentEntry> entries = [];
        return (SegmentScan.Of(file, entries), entries);
    }
}
