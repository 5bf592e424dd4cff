using System.Buffers;
using System.Globalization;
using Delivery.Edge.Cache;
using Delivery.Edge.Fills;
using Delivery.Edge.Freshness;
using Delivery.ObjectStore;

namespace Delivery.Edge.Objects;

/// <summary>What the edge knows of one version of one object, with the header values that every response repeats. Immutable but for hints.</summary>
internal sealed class EdgeObject
{
    private const int FileIdLength = 40;

    private static readonly SearchValues<char> LowerHex = SearchValues.Create("0123456789abcdef");

    private ContentRange? _lastRange;
    private volatile ResponseFreshness? _freshness;

    private EdgeObject(string path, ObjectKey key, ObjectInfo? info, long generation, DateTimeOffset believedUntil)
    {
        Path = path;
        PathHash = ObjectHash.OfPath(path);
        Key = key;
        Info = info;
        Generation = generation;
        BelievedUntil = believedUntil;
        if (info is null)
        {
            ETag = ContentType = "";
            return;
        }

        Exists = true;
        Length = info.Length;
        Validator = ValidatorOf(path, info, out var etag, out var immutable);
        ETag = etag;
        IsImmutable = immutable;
        Hash = ObjectHash.OfVersion(path, Validator, generation);
        ContentType = ContentTypes.For(path, info.ContentType);
        UnsatisfiedRange = string.Create(CultureInfo.InvariantCulture, $"bytes */{Length}");
    }

    /// <summary>The path as requested: the cache's key.</summary>
    public string Path { get; }

    public ObjectKey Key { get; }

    /// <summary>What upstream said; null when it has no such object.</summary>
    public ObjectInfo? Info { get; }

    /// <summary>Sequence of the last purge of the path when upstream was asked; 0 without one.</summary>
    public long Generation { get; }

    /// <summary>The name is a digest of the content, so what is known of it never changes.</summary>
    public bool IsImmutable { get; }

    public ObjectHash PathHash { get; }

    /// <summary>False: upstream has no such object, believed until <see cref="BelievedUntil"/>.</summary>
    public bool Exists { get; }

    public DateTimeOffset BelievedUntil { get; }

    public long Length { get; }

    public string Validator { get; } = "";

    public string ETag { get; }

    public ObjectHash Hash { get; }

    public string ContentType { get; }

    public string UnsatisfiedRange { get; } = "";

    /// <summary>Whether a chunk of this object was ever admitted: tells "we had a part" from "we had nothing" in <c>Cache-Status</c>.</summary>
    public bool HasStoredChunks { get; set; }

    /// <summary>How long what upstream said may be believed; null for an immutable object: for ever. Replaced whole when upstream says so again.</summary>
    public ResponseFreshness? Freshness
    {
        get => _freshness;
        set => _freshness = IsImmutable ? null : value;
    }

    /// <summary>What its readers have proven.</summary>
    public ReadAhead ReadAhead { get; } = new();

    /// <summary>Set at use, cleared by the table's clock hand.</summary>
    public bool Used { get; set; }

    /// <summary>No longer in the table; its slot there is free for the next one.</summary>
    public bool Removed { get; set; }

    /// <summary>Whether the path's last part is the digest of its content, so that its bytes never change.</summary>
    public static bool IsNamedByContent(string path) => FileIdOf(path).Length > 0;

    /// <param name="freshness">Of no account for an immutable object.</param>
    public static EdgeObject Present(string path, ObjectInfo info, long generation, ResponseFreshness? freshness) =>
        new(path, info.Key, info, generation, DateTimeOffset.MaxValue) { Freshness = freshness };

    public static EdgeObject Absent(string path, ObjectKey key, long generation, DateTimeOffset believedUntil) => new(path, key, null, generation, believedUntil);

    /// <summary>Whether upstream's description is of the same bytes as this entry.</summary>
    public bool IsSameVersion(ObjectInfo info) => info.Length == Length && ValidatorOf(Path, info, out _, out _) == Validator;

    public ChunkKey ChunkKey(long index) => new(Hash, index);

    public int ChunkLength(long index) => Chunk.LengthOf(index, Length);

    public bool IsIn(ChunkCache cache, long chunk) => cache.Contains(ChunkKey(chunk), ChunkLength(chunk));

    /// <summary><c>Content-Range</c>'s value. The last one is kept: most requests for an object are for its head.</summary>
    public string ContentRangeText(long start, long end)
    {
        var last = _lastRange;
        if (last is not null && last.Start == start && last.End == end)
            return last.Text;
        var text = string.Create(CultureInfo.InvariantCulture, $"bytes {start}-{end - 1}/{Length}");
        _lastRange = new(start, end, text);
        return text;
    }

    // A file addressed by content is the same in every store and after every rewrite, so its name is its ETag; its SHA-256, where the
    // store knows it, confirms that. Any other object is what the store's version says (RFC 9110 §8.8.3: a strong validator).
    private static string ValidatorOf(string path, ObjectInfo info, out string etag, out bool immutable)
    {
        var fileId = FileIdOf(path);
        immutable = fileId.Length > 0 && (info.Sha256 is null || info.Sha256.AsSpan().StartsWith(fileId, StringComparison.Ordinal));
        if (immutable)
        {
            // Neither the store's own version nor the digest that not every store knows: the next upstream in order of failover has the same file.
            return etag = $"\"{fileId}\"";
        }

        // The version is opaque and may hold characters that an entity-tag may not, so the tag is a digest of it.
        var hash = ObjectHash.OfVersion(path, info.Version, 0);
        etag = $"\"{hash.High:x16}{hash.Low:x16}\"";
        return info.Version;
    }

    // /audio/{40 lower-case hex digits}.{ext}
    private static ReadOnlySpan<char> FileIdOf(ReadOnlySpan<char> path)
    {
        var name = path[(path.LastIndexOf('/') + 1)..];
        return path.Length == name.Length + "/audio/".Length && name.Length > FileIdLength && name[FileIdLength] == '.'
            && !name[..FileIdLength].ContainsAnyExcept(LowerHex)
            ? name[..FileIdLength]
            : default;
    }

    private sealed record ContentRange(long Start, long End, string Text);
}
