using System.Globalization;
using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>
/// One file of the tier while the edge runs. Whoever reads holds a reference, so that a file that is evicted meanwhile is closed when its last
/// reader is gone. All else is the writer thread's.
/// </summary>
internal sealed class Segment(SegmentHeader header, ICacheFile file)
{
    private const string Prefix = "segment-";

    // A name above is a stranger's: the next id must have room.
    private const long MaxId = 1L << 60;

    private int _references = 1;
    private long _length;

    public SegmentHeader Header { get; } = header;

    public long Id => Header.SegmentId;

    public string Name { get; } = NameOf(header.SegmentId);

    public ICacheFile File { get; } = file;

    /// <summary>The file's length in bytes.</summary>
    public long Length
    {
        get => Volatile.Read(ref _length);
        set => Volatile.Write(ref _length, value);
    }

    /// <summary>Records in the file, dead ones included.</summary>
    public int Records { get; set; }

    /// <summary>The records so far while the file is written to; null afterwards: then its footer has them.</summary>
    public List<SegmentEntry>? Entries { get; set; }

    /// <summary>The footer is written and synced.</summary>
    public bool IsSealed { get; set; }

    /// <summary>Written to disk since the last sync.</summary>
    public bool IsDirty { get; set; }

    /// <summary>
    /// Kept for pins, out of turn: made for them, or made up mostly of them. The latter is not written down: after a restart the file is in the normal line again
    /// and is judged when its turn comes.
    /// </summary>
    public bool IsKept { get; set; } = header.Stream == SegmentStream.Pinned;

    /// <summary>Bytes of each version in a file that is kept, so that its live pins can be counted without a read.</summary>
    public Dictionary<ObjectHash, long>? Versions { get; set; }

    /// <summary>Times that it was put at the end of the line again.</summary>
    public int Requeues { get; set; }

    /// <summary>The directory's tail when the first of its entries was appended: the ring must not forget what lies above.</summary>
    public long FirstAddress { get; set; } = long.MaxValue;

    /// <summary>Unlinked.</summary>
    public bool IsGone { get; set; }

    public static string NameOf(long id) => string.Create(CultureInfo.InvariantCulture, $"{Prefix}{id:x16}");

    /// <summary>Whether the name is one that <see cref="NameOf"/> gives; any other file in the folder is a stranger's.</summary>
    public static bool TryParseName(string name, out long id)
    {
        id = 0;
        return name.StartsWith(Prefix, StringComparison.Ordinal)
            && long.TryParse(name.AsSpan(Prefix.Length), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out id)
            && id is >= 0 and <= MaxId
            && NameOf(id) == name;
    }

    /// <summary>False when the file is closed already.</summary>
    public bool TryAcquire()
    {
        var seen = Volatile.Read(ref _references);
        while (seen > 0)
        {
            var found = Interlocked.CompareExchange(ref _references, seen + 1, seen);
            if (found == seen)
                return true;
            seen = found;
        }

        return false;
    }

    public void Release()
    {
        if (Interlocked.Decrement(ref _references) == 0)
            File.Dispose();
    }
}
