using Delivery.Edge.Cache;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Tests.Cache;

/// <summary>
/// The golden files (tests/Edge/Cache/Golden) and what is in them. They are never written anew for a version of a format that has been released: a change of the bytes
/// is a new version and a new file.
/// </summary>
internal static class CacheGolden
{
    public const long PurgeSequence = 41;

    public static readonly Guid CacheId = new("00112233-4455-6677-8899-aabbccddeeff");
    public static readonly ObjectHash PurgedPath = ObjectHash.OfPath("/audio/purged.ogg");
    public static readonly PinEntry Pinned = new(ObjectHash.OfVersion("/audio/pinned.ogg", "v1", 0), ObjectHash.OfPath("/audio/pinned.ogg"), 3_000_000, 4_000_000_000);

    public static readonly SegmentHeader Header = new(CacheId, 7, SegmentStream.Pinned);

    private static readonly ObjectHash Track = ObjectHash.OfPath("/audio/track.ogg");
    private static readonly ObjectHash TrackVersion = ObjectHash.OfVersion("/audio/track.ogg", "v1", PurgeSequence);

    /// <summary>A chunk of one full block and a bit, the last chunk of the object, and its metadata.</summary>
    public static readonly CacheRecord[] Records =
    [
        new(new(TrackVersion, 0), Track, 42, SegmentFormat.BlockBytes + 5),
        new(new(TrackVersion, 23), Track, 43, 100),
        new(CacheRecord.MetadataKey(Track), Track, 43, 61),
    ];

    /// <summary>Where each record's header starts, and where the footer does.</summary>
    public static readonly long[] Offsets = [40, 40 + 16464, 40 + 16464 + 168, 40 + 16464 + 168 + 136];

    public static byte[] Segment() => Read("segment-1.bin");

    public static byte[] Journal() => Read("journal-1.bin");

    /// <summary>Bytes that anyone can make again: x = 1664525 x + 1013904223, its highest byte.</summary>
    public static byte[] Payload(int record)
    {
        var bytes = new byte[Records[record].Length];
        var x = (uint)record;
        foreach (ref var b in bytes.AsSpan())
            b = (byte)((x = 1664525 * x + 1013904223) >> 24);
        return bytes;
    }

    private static byte[] Read(string name) => File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Cache", "Golden", name));
}
