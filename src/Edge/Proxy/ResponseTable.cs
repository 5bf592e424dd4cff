using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Proxy;

/// <summary>
/// Stored responses by URL and variant, within a budget of RAM; the least recently used URL leaves first. Of no URL more than <see cref="ProxyOptions.MaxVariants"/>.
/// </summary>
internal sealed class ResponseTable(long budgetBytes, int maxVariants)
{
    // An entry without a response: a URL that is known not to be storable for now.
    private const int EntryBytes = 512;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, LinkedListNode<Entry>> _entries = new(StringComparer.Ordinal);
    // Most recently used first.
    private readonly LinkedList<Entry> _order = new();
    private long _bytes;
    private int _responses;
    private long _evicted;

    /// <summary>Stored responses.</summary>
    public int Count => Volatile.Read(ref _responses);

    /// <summary>RAM in use.</summary>
    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>Responses that left because there was no room.</summary>
    public long Evicted => Interlocked.Read(ref _evicted);

    /// <summary>The newest stored response that the request matches.</summary>
    /// <param name="hasOthers">Whether there are responses that it does not match.</param>
    public StoredResponse? Find(string key, IHeaderDictionary request, out bool hasOthers)
    {
        lock (_gate)
        {
            hasOthers = false;
            if (!_entries.TryGetValue(key, out var node))
                return null;
            Use(node);
            foreach (var response in node.Value.Variants)
            {
                if (response.Selection.Matches(request))
                    return response;
            }

            hasOthers = node.Value.Variants.Count > 0;
            return null;
        }
    }

    /// <summary>What tells requests for a URL apart as far as is known: those with the same text may share an answer.</summary>
    public string CollapseKey(string key, IHeaderDictionary request)
    {
        lock (_gate)
            return $"{key}\n{(_entries.TryGetValue(key, out var node) ? Selection.TextOf(node.Value.Names, request) : "")}";
    }

    /// <summary>By which fields a URL's responses vary, said as soon as it is known.</summary>
    public void LearnNames(string key, IReadOnlyList<string> names)
    {
        lock (_gate)
            GetOrAdd(key).Value.Names = names;
    }

    /// <summary>Adds a response in the place of those that answer the same requests.</summary>
    public void Add(StoredResponse response)
    {
        lock (_gate)
        {
            var node = GetOrAdd(response.Key);
            var entry = node.Value;
            entry.Names = response.Selection.Names;
            entry.PassUntil = default;
            for (var i = entry.Variants.Count - 1; i >= 0; i--)
            {
                if (entry.Variants[i].Selection == response.Selection || (entry.Variants[i].Selection.Text == response.Selection.Text))
                    RemoveAt(entry, i);
            }

            if (entry.Variants.Count == maxVariants)
            {
                RemoveAt(entry, maxVariants - 1);
                _evicted++;
            }

            entry.Variants.Insert(0, response);
            _responses++;
            _bytes += response.MetadataBytes;
            Trim();
        }
    }

    /// <summary>Puts a refreshed response in the place of the one it was; nothing when that has left.</summary>
    public void Replace(StoredResponse old, StoredResponse refreshed)
    {
        lock (_gate)
        {
            if (!_entries.TryGetValue(old.Key, out var node) || node.Value.Variants.IndexOf(old) is not (>= 0 and var place))
                return;
            node.Value.Variants[place] = refreshed;
            node.Value.Names = refreshed.Selection.Names;
            _bytes += refreshed.MetadataBytes - old.MetadataBytes;
            Trim();
        }
    }

    public void Remove(StoredResponse response)
    {
        lock (_gate)
        {
            if (_entries.TryGetValue(response.Key, out var node) && node.Value.Variants.IndexOf(response) is >= 0 and var place)
                RemoveAt(node.Value, place);
        }
    }

    /// <summary>As <see cref="Remove"/>, of a response whose body has left the cache and is asked for again. The cache cannot know that it is the same: a new body has a new name.</summary>
    public void RemoveEvicted(StoredResponse response)
    {
        lock (_gate)
            GetOrAdd(response.Key).Value.IsProven = true;
        Remove(response);
    }

    public bool IsProven(string key)
    {
        lock (_gate)
            return _entries.TryGetValue(key, out var node) && node.Value.IsProven;
    }

    /// <summary>RFC 9111 §4.4: every variant of a URL leaves.</summary>
    public void Invalidate(string key)
    {
        lock (_gate)
        {
            if (_entries.TryGetValue(key, out var node))
                Evict(node);
        }
    }

    /// <summary>Hit-for-miss: until then a URL's requests do not wait for one another.</summary>
    public void Pass(string key, DateTimeOffset until)
    {
        lock (_gate)
        {
            GetOrAdd(key).Value.PassUntil = until;
            Trim();
        }
    }

    public bool IsPass(string key, DateTimeOffset now)
    {
        lock (_gate)
            return _entries.TryGetValue(key, out var node) && now < node.Value.PassUntil;
    }

    private LinkedListNode<Entry> GetOrAdd(string key)
    {
        if (_entries.TryGetValue(key, out var node))
        {
            Use(node);
            return node;
        }

        node = _order.AddFirst(new Entry(key));
        _entries.Add(key, node);
        _bytes += EntryBytes + 2 * key.Length;
        return node;
    }

    private void Use(LinkedListNode<Entry> node)
    {
        if (_order.First == node)
            return;
        _order.Remove(node);
        _order.AddFirst(node);
    }

    private void Trim()
    {
        while (_bytes > budgetBytes && _order.Last is { } last)
        {
            _evicted += last.Value.Variants.Count;
            Evict(last);
        }
    }

    private void Evict(LinkedListNode<Entry> node)
    {
        for (var i = node.Value.Variants.Count - 1; i >= 0; i--)
            RemoveAt(node.Value, i);
        _entries.Remove(node.Value.Key);
        _order.Remove(node);
        _bytes -= EntryBytes + 2 * node.Value.Key.Length;
    }

    private void RemoveAt(Entry entry, int index)
    {
        _bytes -= entry.Variants[index].MetadataBytes;
        _responses--;
        entry.Variants.RemoveAt(index);
    }

    private sealed class Entry(string key)
    {
        public string Key { get; } = key;

        /// <summary>Newest first.</summary>
        public List<StoredResponse> Variants { get; } = [];

        /// <summary>Fields that the newest response varies by.</summary>
        public IReadOnlyList<string> Names { get; set; } = [];

        public DateTimeOffset PassUntil { get; set; }

        public bool IsProven { get; set; }
    }
}
