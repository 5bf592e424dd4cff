using System.Collections.Concurrent;

namespace Delivery.Cli.Soak;

/// <summary>One object of the store, and which of its versions a response may carry.</summary>
/// <param name="seed">The run's seed.</param>
/// <param name="number">Number in the catalog, and rank in popularity: 0 is asked most.</param>
/// <param name="key">Its key in the store.</param>
/// <param name="length">Bytes; the same in every version.</param>
/// <param name="target">Path and query, signed for longer than the run.</param>
/// <param name="isMutable">Whether the run replaces it; names of 40 hex digits are never replaced.</param>
internal sealed class SoakObject(ulong seed, int number, string key, long length, string target, bool isMutable)
{
    private readonly ConcurrentDictionary<string, int> _versionByETag = new(StringComparer.Ordinal);
    private int _oldest;
    private int _newest;
    private int _hits;

    public int Number => number;

    public string Key => key;

    public string Path => "/" + key;

    public long Length => length;

    public string Target => target;

    public bool IsMutable => isMutable;

    /// <summary>No response that starts from now on may carry a version below this one: the purge of those before is acknowledged.</summary>
    public int Oldest => Volatile.Read(ref _oldest);

    /// <summary>The version that is, or is about to be, in the store.</summary>
    public int Newest => Volatile.Read(ref _newest);

    /// <summary>Times that its head came from the cache since it was last replaced: above two, the cache has every reason to keep it.</summary>
    public int Hits => Volatile.Read(ref _hits);

    public SoakContent Content(int version) => new(seed, number, version);

    /// <summary>To be called before the store gets the next version: from then on either may be seen.</summary>
    public int BeginReplacement()
    {
        Volatile.Write(ref _hits, 0);
        return Interlocked.Increment(ref _newest);
    }

    /// <summary>The purge is acknowledged.</summary>
    public void EndReplacement() => Volatile.Write(ref _oldest, Newest);

    public void NoteHit() => Interlocked.Increment(ref _hits);

    /// <summary>An ETag names one version for ever (RFC 9110 §8.8.1); false when this one has named another before.</summary>
    public bool ETagFits(string etag, int version) => _versionByETag.GetOrAdd(etag, version) == version;
}
