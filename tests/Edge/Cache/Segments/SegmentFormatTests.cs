using System.Buffers.Binary;
using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Segments;
using Delivery.ObjectStore;

namespace Delivery.Edge.Tests.Cache.Segments;

public class SegmentFormatTests
{
    private static readonly SegmentEntry[] Entries = [.. CacheGolden.Records.Zip(CacheGolden.Offsets, (r, o) => new SegmentEntry(r, o))];

    [Fact]
    public void Writing_GivesTheGoldenFile()
    {
        var golden = CacheGolden.Segment();
        var bytes = new byte[golden.Length];
        // What a pooled buffer holds from before must not show.
        Array.Fill(bytes, (byte)0xEE);
        SegmentFormat.WriteSegmentHeader(bytes, CacheGolden.Header);
        for (var i = 0; i < Entries.Length; i++)
        {
            var record = bytes.AsSpan((int)Entries[i].Offset);
            CacheGolden.Payload(i).CopyTo(record[SegmentFormat.RecordHeaderBytes(Entries[i].Record.Length)..]);
            Assert.Equal(CacheGolden.Offsets[i + 1] - CacheGolden.Offsets[i], SegmentFormat.Seal(record, Entries[i].Record));
        }

        var footer = SegmentFormat.WriteFooter(bytes.AsSpan((int)CacheGolden.Offsets[^1]), Entries, CacheGolden.Header, CacheGolden.Offsets[^1]);
        Assert.Equal(golden.Length, CacheGolden.Offsets[^1] + footer);
        Assert.Equal(golden, bytes);
    }

    [Fact]
    public void Reading_TheGoldenFile_GivesEveryField()
    {
        var golden = CacheGolden.Segment();
        Assert.True(SegmentFormat.TryReadSegmentHeader(golden, out var header));
        Assert.Equal(CacheGolden.Header, header);
        for (var i = 0; i < Entries.Length; i++)
        {
            Assert.True(SegmentFormat.TryReadRecord(golden.AsSpan((int)CacheGolden.Offsets[i]), out var record, out var payload));
            Assert.Equal(CacheGolden.Records[i], record);
            Assert.Equal(CacheGolden.Payload(i), payload);
        }

        Assert.True(SegmentFormat.TryReadTrailer(golden.AsSpan(^SegmentFormat.TrailerBytes..), header, golden.Length, out var trailer));
        Assert.Equal(CacheGolden.Offsets[^1], trailer.FooterOffset);
        List<SegmentEntry> entries = [];
        Assert.True(SegmentFormat.TryReadFooter(golden.AsSpan((int)trailer.FooterOffset, trailer.FooterBytes), trailer, entries));
        Assert.Equal(Entries, entries);
    }

    [Theory]
    [InlineData(1, 68, 72)]
    [InlineData(4, 68, 72)]
    [InlineData(5, 68, 80)]
    [InlineData(16384, 68, 16456)]
    [InlineData(16385, 72, 16464)]
    [InlineData(131072, 96, 131168)]
    public void Sizes(int payload, int header, int record)
    {
        Assert.Equal(header, SegmentFormat.RecordHeaderBytes(payload));
        Assert.Equal(record, SegmentFormat.RecordBytes(payload));
        Assert.True(record <= SegmentFormat.MaxRecordBytes);
    }

    [Fact]
    public void Seal_AnyLength_ReadsBack()
    {
        var random = new Random(17);
        var buffer = new byte[SegmentFormat.MaxRecordBytes];
        for (var i = 0; i < 400; i++)
        {
            var length = i switch { 0 => 1, 1 => Chunk.SizeBytes, _ => random.Next(10) == 0 ? random.Next(1, Chunk.SizeBytes + 1) : Near(random) };
            var head = new CacheRecord(new(new((ulong)random.NextInt64(), (ulong)random.NextInt64()), random.NextInt64(0, 1 << 40)), new((ulong)random.NextInt64(), 1), random.NextInt64(), length);
            random.NextBytes(buffer);
            var payload = buffer.AsSpan(SegmentFormat.RecordHeaderBytes(length), length).ToArray();
            var bytes = SegmentFormat.Seal(buffer, head);
            Assert.True(SegmentFormat.TryReadRecord(buffer.AsSpan(0, bytes), out var read, out var found));
            Assert.Equal(head, read);
            Assert.True(found.SequenceEqual(payload));
            Assert.False(buffer.AsSpan(SegmentFormat.RecordHeaderBytes(length) + length, bytes - SegmentFormat.RecordHeaderBytes(length) - length).ContainsAnyExcept((byte)0));
            Assert.False(SegmentFormat.TryReadRecord(buffer.AsSpan(0, SegmentFormat.RecordHeaderBytes(length) + length - 1), out _, out found));
            Assert.True(found.IsEmpty);
        }

        static int Near(Random random) => Math.Clamp(random.Next(9) * SegmentFormat.BlockBytes + random.Next(-9, 10), 1, Chunk.SizeBytes);
    }

    [Fact]
    public void VerifyBlock_ComparesTheBlockItNames()
    {
        var golden = CacheGolden.Segment().AsSpan((int)CacheGolden.Offsets[0]).ToArray();
        var payload = CacheGolden.Payload(0);
        byte[] first = payload[..SegmentFormat.BlockBytes], last = payload[SegmentFormat.BlockBytes..];
        Assert.True(SegmentFormat.VerifyBlock(golden, 0, first));
        Assert.True(SegmentFormat.VerifyBlock(golden, 1, last));
        Assert.False(SegmentFormat.VerifyBlock(golden, 0, last));
        Assert.False(SegmentFormat.VerifyBlock(golden, 1, first));
        Assert.False(SegmentFormat.VerifyBlock(golden, 1, last.AsSpan(0, 4)));
        Assert.False(SegmentFormat.VerifyBlock(golden, 1, []));
        Assert.False(SegmentFormat.VerifyBlock(golden, 2, []));
        Assert.False(SegmentFormat.VerifyBlock(golden, -1, first));
        Assert.False(SegmentFormat.VerifyBlock(golden, int.MaxValue, first));
    }

    [Fact]
    public void EveryBitOfHeadersAndFooter_Flipped_IsRefused()
    {
        var golden = CacheGolden.Segment();
        foreach (var bit in Bits(0, SegmentFormat.SegmentHeaderBytes))
            Assert.False(SegmentFormat.TryReadSegmentHeader(Flipped(golden, bit), out _), $"bit {bit} of the file's header");
        for (var i = 0; i < Entries.Length; i++)
        {
            foreach (var bit in Bits(Entries[i].Offset, SegmentFormat.RecordHeaderBytes(Entries[i].Record.Length)))
                Assert.False(SegmentFormat.TryReadHeader(Flipped(golden, bit).AsSpan((int)Entries[i].Offset), out _), $"bit {bit}, header {i}");
        }

        foreach (var bit in Bits(CacheGolden.Offsets[^1], golden.Length - CacheGolden.Offsets[^1]))
        {
            var bytes = Flipped(golden, bit);
            List<SegmentEntry> entries = [];
            Assert.False(
                SegmentFormat.TryReadTrailer(bytes.AsSpan(^SegmentFormat.TrailerBytes..), CacheGolden.Header, bytes.Length, out var trailer)
                && SegmentFormat.TryReadFooter(bytes.AsSpan((int)trailer.FooterOffset, trailer.FooterBytes), trailer, entries),
                $"bit {bit} of the footer");
            Assert.Empty(entries);
        }
    }

    [Fact]
    public void EveryBitOfTheFile_Flipped_IsFoundOrIsPadding()
    {
        var golden = CacheGolden.Segment();
        var disk = new FaultyDisk();
        using var file = disk.Create("s");
        var undetected = new List<int>();
        List<SegmentEntry> entries = [];
        // Every bit that is not payload; of the long payload every 61st bit.
        var bits = Enumerable.Range(0, golden.Length * 8).Where(b => b < 200 * 8 || b % 61 == 0 || b > (SegmentFormat.BlockBytes - 100) * 8);
        foreach (var bit in bits)
        {
            var bytes = Flipped(golden, bit);
            file.Write(0, bytes);
            entries.Clear();
            var scan = SegmentScan.Of(file, entries);
            var found = scan.State != SegmentState.Sealed;
            Assert.Equal(Entries[..entries.Count], entries);
            for (var i = 0; i < entries.Count; i++)
            {
                if (SegmentFormat.TryReadRecord(bytes.AsSpan((int)entries[i].Offset), out var record, out var payload))
                {
                    // Whatever is returned is what was written.
                    Assert.Equal(CacheGolden.Records[i], record);
                    Assert.Equal(CacheGolden.Payload(i), payload);
                }
                else
                {
                    found = true;
                }
            }

            if (!found)
                undetected.Add(bit);
        }

        int[] padding = [.. Enumerable.Range(0, 3).SelectMany(i => Bits(CacheGolden.Offsets[i] + SegmentFormat.RecordHeaderBytes(CacheGolden.Records[i].Length) + CacheGolden.Records[i].Length,
            CacheGolden.Offsets[i + 1] - CacheGolden.Offsets[i] - SegmentFormat.RecordHeaderBytes(CacheGolden.Records[i].Length) - CacheGolden.Records[i].Length))];
        Assert.NotEmpty(padding);
        Assert.Equal(padding, undetected);
    }

    [Fact]
    public void EveryRecordHeader_CutAnywhere_IsRefused()
    {
        var golden = CacheGolden.Segment();
        for (var i = 0; i < Entries.Length; i++)
        {
            var header = golden.AsSpan((int)Entries[i].Offset, SegmentFormat.RecordHeaderBytes(Entries[i].Record.Length));
            for (var length = 0; length < header.Length; length++)
                Assert.False(SegmentFormat.TryReadHeader(header[..length], out _));
            Assert.True(SegmentFormat.TryReadHeader(header, out _));
        }
    }

    [Fact]
    public void Values_OutOfBounds_AreRefusedEvenWithAGoodCrc()
    {
        var golden = CacheGolden.Segment();
        var at = (int)CacheGolden.Offsets[1];
        var header = golden.AsSpan(at, SegmentFormat.RecordHeaderBytes(100)).ToArray();
        Assert.True(SegmentFormat.TryReadHeader(header, out _));
        Refused(b => BinaryPrimitives.WriteInt32LittleEndian(b[56..], 0));
        Refused(b => BinaryPrimitives.WriteInt32LittleEndian(b[56..], -1));
        Refused(b => BinaryPrimitives.WriteInt32LittleEndian(b[56..], int.MaxValue));
        Refused(b => BinaryPrimitives.WriteInt32LittleEndian(b[56..], int.MinValue));
        Refused(b => BinaryPrimitives.WriteInt32LittleEndian(b[56..], Chunk.SizeBytes + 1));
        Refused(b => BinaryPrimitives.WriteInt64LittleEndian(b[48..], -1));
        Refused(b => BinaryPrimitives.WriteInt64LittleEndian(b[24..], -2));
        Refused(b => BinaryPrimitives.WriteInt64LittleEndian(b[24..], long.MaxValue));
        // Metadata goes by its path.
        Refused(b => BinaryPrimitives.WriteInt64LittleEndian(b[24..], -1));
        // Another version of the format.
        Refused(b => b[4] = 2);

        void Refused(SpanChange change)
        {
            var bytes = header.ToArray();
            change(bytes);
            SegmentFormat.SealWithCrc(bytes);
            Assert.False(SegmentFormat.TryReadHeader(bytes, out _));
        }
    }

    [Fact]
    public void Trailer_OutOfBounds_IsRefusedEvenWithAGoodCrc()
    {
        var golden = CacheGolden.Segment();
        var trailer = golden.AsSpan(^SegmentFormat.TrailerBytes..).ToArray();
        Assert.True(SegmentFormat.TryReadTrailer(trailer, CacheGolden.Header, golden.Length, out _));
        Assert.False(SegmentFormat.TryReadTrailer(trailer, CacheGolden.Header, golden.Length + 8, out _));
        Assert.False(SegmentFormat.TryReadTrailer(trailer, CacheGolden.Header with { SegmentId = 8 }, golden.Length, out _));
        // The cache id is what a stranger cannot know.
        Assert.False(SegmentFormat.TryReadTrailer(trailer, CacheGolden.Header with { CacheId = Guid.NewGuid() }, golden.Length, out _));
        foreach (var value in new uint[] { 0, 2, 4, int.MaxValue, uint.MaxValue, SegmentFormat.MaxEntries + 1 })
        {
            Refused(b => BinaryPrimitives.WriteUInt32LittleEndian(b[32..], value));
            Refused(b => BinaryPrimitives.WriteUInt32LittleEndian(b[36..], value));
        }

        void Refused(SpanChange change)
        {
            var bytes = trailer.ToArray();
            change(bytes);
            SegmentFormat.SealWithCrc(bytes);
            Assert.False(SegmentFormat.TryReadTrailer(bytes, CacheGolden.Header, golden.Length, out _));
        }
    }

    [Fact]
    public void Footer_EntriesOutOfBounds_AreRefusedEvenWithAGoodCrc()
    {
        var golden = CacheGolden.Segment();
        var footer = golden.AsSpan((int)CacheGolden.Offsets[^1], 3 * SegmentFormat.EntryBytes).ToArray();
        Refused(b => BinaryPrimitives.WriteUInt32LittleEndian(b[52..], 0));
        Refused(b => BinaryPrimitives.WriteUInt32LittleEndian(b[52..], uint.MaxValue));
        // The last record would reach into the footer.
        Refused(b => BinaryPrimitives.WriteUInt32LittleEndian(b[(2 * 56 + 52)..], (uint)CacheGolden.Offsets[3] / 8));
        // Two records in one place.
        Refused(b => BinaryPrimitives.WriteUInt32LittleEndian(b[(56 + 52)..], (uint)CacheGolden.Offsets[0] / 8));
        Refused(b => BinaryPrimitives.WriteInt32LittleEndian(b[48..], int.MaxValue));

        void Refused(SpanChange change)
        {
            var bytes = footer.ToArray();
            change(bytes);
            List<SegmentEntry> entries = [Entries[2]];
            Assert.False(SegmentFormat.TryReadFooter(bytes, new(CacheGolden.Offsets[^1], 3, Crc32C.Of(bytes)), entries));
            Assert.Equal([Entries[2]], entries);
        }
    }

    [Fact]
    public void RandomBytes_AreRefused()
    {
        var random = new Random(99);
        var bytes = new byte[4096];
        for (var i = 0; i < 20_000; i++)
        {
            random.NextBytes(bytes.AsSpan(0, 256));
            // Half of them with the beginnings that a reader looks for.
            if (i % 2 == 0)
                CacheGolden.Segment().AsSpan((int)CacheGolden.Offsets[i / 2 % 3], random.Next(8, 60)).CopyTo(bytes);
            Assert.False(SegmentFormat.TryReadHeader(bytes, out _));
            Assert.False(SegmentFormat.TryReadSegmentHeader(bytes, out _));
            Assert.False(SegmentFormat.TryReadTrailer(bytes.AsSpan(0, SegmentFormat.TrailerBytes), CacheGolden.Header, random.Next(), out _));
        }
    }

    [Fact]
    public void Writers_RefuseWhatReadersWould()
    {
        var good = CacheGolden.Records[1];
        var buffer = new byte[SegmentFormat.MaxRecordBytes];
        foreach (var bad in new[]
        {
            good with { Length = 0 }, good with { Length = Chunk.SizeBytes + 1 }, good with { Sequence = -1 },
            good with { Key = new(good.Path, -2) }, good with { Key = new(good.Key.Object, CacheRecord.MetadataIndex) },
        })
        {
            Assert.Throws<ArgumentException>(() => SegmentFormat.Seal(buffer, bad));
            Assert.Throws<ArgumentException>(() => SegmentFormat.WriteFooter(buffer, [new(bad, 40)], CacheGolden.Header, 40_000));
        }

        Assert.Throws<ArgumentException>(() => SegmentFormat.WriteFooter(buffer, [new(good, 32)], CacheGolden.Header, 40_000));
        Assert.Throws<ArgumentException>(() => SegmentFormat.WriteFooter(buffer, [new(good, 41)], CacheGolden.Header, 40_000));
        Assert.Throws<ArgumentException>(() => SegmentFormat.WriteFooter(buffer, [new(good, 80), new(good, 40)], CacheGolden.Header, 40_000));
        Assert.Throws<ArgumentException>(() => SegmentFormat.WriteFooter(buffer, [new(good, 40)], CacheGolden.Header, 200));
        Assert.Throws<ArgumentException>(() => SegmentFormat.WriteFooter(buffer, [], CacheGolden.Header, 41));
    }

    private delegate void SpanChange(Span<byte> bytes);

    private static IEnumerable<int> Bits(long from, long bytes) => Enumerable.Range((int)from * 8, (int)bytes * 8);

    private static byte[] Flipped(byte[] bytes, int bit)
    {
        var copy = bytes.ToArray();
        copy[bit / 8] ^= (byte)(1 << (bit % 8));
        return copy;
    }
}
