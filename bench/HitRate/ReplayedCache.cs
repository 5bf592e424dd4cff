namespace Delivery.Bench.HitRate;

/// <summary>Who answered a request.</summary>
internal enum Served
{
    Upstream,
    Ram,
    Disk,
}

/// <summary>A cache that is told the requests one by one; a miss is filled at once.</summary>
internal abstract class ReplayedCache(string name)
{
    public string Name { get; } = name;

    public abstract Served Request(int chunk);

    /// <summary>Bytes written to disk for each byte admitted there; 0 without a disk.</summary>
    public virtual double WriteAmplification => 0;

    protected static Served Of(bool hit) => hit ? Served.Ram : Served.Upstream;
}

/// <summary>What a replay gave, counted after the warm-up.</summary>
internal sealed record ReplayResult(string Name, double Requests, double Bytes, double Heads, double RamShare, double WriteAmplification)
{
    /// <summary>The first fifth fills the caches and is not counted.</summary>
    private const int WarmUpDivisor = 5;

    public static ReplayResult Run(Trace trace, ReplayedCache cache)
    {
        long requests = 0, hits = 0, heads = 0, headHits = 0, bytes = 0, hitBytes = 0, ram = 0;
        for (var i = 0; i < trace.Requests.Length; i++)
        {
            var chunk = trace.Requests[i];
            var served = cache.Request(chunk);
            if (i < trace.Requests.Length / WarmUpDivisor)
                continue;
            var hit = served != Served.Upstream;
            requests++;
            bytes += trace.Wanted(i);
            if (trace.IsHead(chunk))
                heads++;
            if (!hit)
                continue;
            hits++;
            hitBytes += trace.Wanted(i);
            if (trace.IsHead(chunk))
                headHits++;
            if (served == Served.Ram)
                ram++;
        }

        return new(cache.Name, (double)hits / requests, (double)hitBytes / bytes, (double)headHits / heads, (double)ram / hits, cache.WriteAmplification);
    }
}

/// <summary>Several queues of chunks in two arrays; a chunk is in one of them at most.</summary>
internal sealed class Queues
{
    private readonly int[] _next;
    private readonly int[] _previous;
    private readonly byte[] _in;
    private readonly int[] _oldest;
    private readonly int[] _newest;
    private readonly int[] _bytesOf;

    public Queues(int[] bytesOf, int queues)
    {
        _bytesOf = bytesOf;
        _next = new int[bytesOf.Length];
        _previous = new int[bytesOf.Length];
        _in = new byte[bytesOf.Length];
        _oldest = new int[queues + 1];
        _newest = new int[queues + 1];
        Array.Fill(_oldest, -1);
        Array.Fill(_newest, -1);
        Bytes = new long[queues + 1];
        Counts = new int[queues + 1];
    }

    public long[] Bytes { get; }

    public int[] Counts { get; }

    /// <summary>The queue that holds a chunk; 0 = none.</summary>
    public int Of(int chunk) => _in[chunk];

    public int Oldest(int queue) => _oldest[queue];

    public void Add(int chunk, int queue)
    {
        _in[chunk] = (byte)queue;
        _previous[chunk] = _newest[queue];
        _next[chunk] = -1;
        if (_newest[queue] >= 0)
            _next[_newest[queue]] = chunk;
        else
            _oldest[queue] = chunk;
        _newest[queue] = chunk;
        Bytes[queue] += _bytesOf[chunk];
        Counts[queue]++;
    }

    public void Remove(int chunk)
    {
        var queue = _in[chunk];
        if (_previous[chunk] >= 0)
            _next[_previous[chunk]] = _next[chunk];
        else
            _oldest[queue] = _next[chunk];
        if (_next[chunk] >= 0)
            _previous[_next[chunk]] = _previous[chunk];
        else
            _newest[queue] = _previous[chunk];
        _in[chunk] = 0;
        Bytes[queue] -= _bytesOf[chunk];
        Counts[queue]--;
    }

    public void Move(int chunk, int queue)
    {
        Remove(chunk);
        Add(chunk, queue);
    }
}
