using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using Delivery.ObjectStore;

namespace Delivery.Transcoder.Ladders;

/// <summary>
/// The ladders by name: the built-in one, and those that operators added as <c>ladders/{name}.json</c>, create-only. A ladder never changes, so
/// what was read once is kept. Format: docs/formats/ladder.md.
/// </summary>
public sealed class LadderStore(IObjectStore store)
{
    public const string Prefix = "ladders/";

    /// <summary>Largest ladder in bytes; the built-in one has 2 KB, the most rungs that there can be make 6.</summary>
    public const int MaxBytes = 64 * 1024;

    /// <summary>Ladders kept in memory; past it a further one is read each time.</summary>
    private const int CacheEntries = 256;

    private const string Suffix = ".json";

    private readonly ConcurrentDictionary<string, Ladder> _known = new(StringComparer.Ordinal) { [Ladder.Default.Name] = Ladder.Default };

    /// <summary>The ladder of that name, or null when there is none. That there is none is asked again each time: it may be added at any moment.</summary>
    /// <exception cref="StoreException">The store failed; <see cref="StoreError.Corrupt"/>: what lies there is no ladder of that name.</exception>
    public async ValueTask<Ladder?> FindAsync(string name, CancellationToken cancellationToken)
    {
        if (_known.TryGetValue(name, out var known))
            return known;
        if (!Ladder.IsName(name) || await ReadAsync(Key(name), cancellationToken) is not { } ladder)
            return null;
        if (_known.Count < CacheEntries)
            _known.TryAdd(name, ladder);
        return ladder;
    }

    /// <summary>Adds a ladder under its name, for good. False: the name is another ladder's.</summary>
    /// <exception cref="StoreException">The store failed; nothing was added, or repeating the call tells.</exception>
    public async Task<(bool IsThere, bool IsNew)> AddAsync(Ladder ladder, CancellationToken cancellationToken)
    {
        var json = ladder.ToJson();
        if (await FindAsync(ladder.Name, cancellationToken) is { } there)
            return (IsSame(there), false);
        try
        {
            using var content = new MemoryStream(json, writable: false);
            await store.WriteAsync(
                Key(ladder.Name), content, new ObjectWrite { ContentType = "application/json", Precondition = WritePrecondition.Absent, ExpectedLength = json.Length }, cancellationToken);
            return (true, true);
        }
        catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
        {
            return (await FindAsync(ladder.Name, cancellationToken) is { } other && IsSame(other), false);
        }

        bool IsSame(Ladder other) => other.ToJson().AsSpan().SequenceEqual(json);
    }

    /// <summary>The names of all ladders, the built-in one first.</summary>
    public async IAsyncEnumerable<string> ListAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        yield return Ladder.Default.Name;
        await foreach (var entry in store.ListAsync(Prefix, null, cancellationToken))
        {
            var name = entry.Key.Value[Prefix.Length..];
            if (name.EndsWith(Suffix, StringComparison.Ordinal) && Ladder.IsName(name[..^Suffix.Length]) && name[..^Suffix.Length] != Ladder.Default.Name)
                yield return name[..^Suffix.Length];
        }
    }

    private static ObjectKey Key(string name) => ObjectKey.Parse(Prefix + name + Suffix);

    private async Task<Ladder?> ReadAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        await using var read = await store.OpenReadAsync(key, null, cancellationToken);
        if (read is null)
            return null;
        if (read.Length > MaxBytes)
            throw Corrupt($"it has {read.Length} bytes, more than {MaxBytes}.", null);
        var json = new byte[read.Length];
        await read.Content.ReadExactlyAsync(json, cancellationToken);
        try
        {
            var ladder = Ladder.Parse(json);
            return Key(ladder.Name) == key ? ladder : throw Corrupt($"its name is {ladder.Name}.", null);
        }
        catch (LadderException e)
        {
            throw Corrupt(e.Message, e);
        }

        StoreException Corrupt(string why, Exception? inner) => new(StoreError.Corrupt, $"'{key}' is not a ladder: {why} Add the right one under a new name.", inner);
    }
}
