using Delivery.Edge;

namespace Delivery.Bench.HitRate;

internal sealed class Fifo(Trace trace, long capacity) : ReplayedCache("FIFO")
{
    private readonly Queues _queues = new(trace.Bytes, 1);

    public override Served Request(int chunk)
    {
        if (_queues.Of(chunk) != 0)
            return Served.Ram;
        _queues.Add(chunk, 1);
        while (_queues.Bytes[1] > capacity)
            _queues.Remove(_queues.Oldest(1));
        return Served.Upstream;
    }
}

internal sealed class Lru(Trace trace, long capacity) : ReplayedCache("LRU")
{
    private readonly Queues _queues = new(trace.Bytes, 1);

    public override Served Request(int chunk)
    {
        if (_queues.Of(chunk) != 0)
        {
            _queues.Move(chunk, 1);
            return Served.Ram;
        }

        _queues.Add(chunk, 1);
        while (_queues.Bytes[1] > capacity)
            _queues.Remove(_queues.Oldest(1));
        return Served.Upstream;
    }
}

/// <summary>Megiddo and Modha, FAST 2003, with sizes counted in bytes.</summary>
internal sealed class Arc(Trace trace, long capacity) : ReplayedCache("ARC")
{
    private const int Recent = 1;
    private const int Frequent = 2;
    private const int RecentGhost = 3;
    private const int FrequentGhost = 4;

    private readonly Queues _queues = new(trace.Bytes, 4);
    private long _target;

    public override Served Request(int chunk)
    {
        var bytes = _queues.Bytes;
        switch (_queues.Of(chunk))
        {
            case Recent or Frequent:
                _queues.Move(chunk, Frequent);
                return Served.Ram;
            case RecentGhost:
                _target = Math.Min(capacity, _target + (long)(Math.Max(1, (double)bytes[FrequentGhost] / bytes[RecentGhost]) * trace.Bytes[chunk]));
                MakeRoom(trace.Bytes[chunk], isFrequentGhost: false);
                _queues.Move(chunk, Frequent);
                return Served.Upstream;
            case FrequentGhost:
                _target = Math.Max(0, _target - (long)(Math.Max(1, (double)bytes[RecentGhost] / bytes[FrequentGhost]) * trace.Bytes[chunk]));
                MakeRoom(trace.Bytes[chunk], isFrequentGhost: true);
                _queues.Move(chunk, Frequent);
                return Served.Upstream;
        }

        while (bytes[Recent] + bytes[RecentGhost] + trace.Bytes[chunk] > capacity && _queues.Counts[RecentGhost] > 0)
            _queues.Remove(_queues.Oldest(RecentGhost));
        while (bytes[Recent] + bytes[Frequent] + bytes[RecentGhost] + bytes[FrequentGhost] + trace.Bytes[chunk] > 2 * capacity && _queues.Counts[FrequentGhost] > 0)
            _queues.Remove(_queues.Oldest(FrequentGhost));
        MakeRoom(trace.Bytes[chunk], isFrequentGhost: false);
        _queues.Add(chunk, Recent);
        return Served.Upstream;
    }

    private void MakeRoom(int wanted, bool isFrequentGhost)
    {
        var bytes = _queues.Bytes;
        while (bytes[Recent] + bytes[Frequent] + wanted > capacity)
        {
            if (_queues.Counts[Recent] > 0 && (bytes[Recent] > _target || (isFrequentGhost && bytes[Recent] == _target) || _queues.Counts[Frequent] == 0))
            {
                // A recency list that is the whole cache leaves no room for its ghosts.
                if (bytes[Recent] + bytes[RecentGhost] > capacity && _queues.Counts[RecentGhost] == 0)
                    _queues.Remove(_queues.Oldest(Recent));
                else
                    _queues.Move(_queues.Oldest(Recent), RecentGhost);
            }
            else
            {
                _queues.Move(_queues.Oldest(Frequent), FrequentGhost);
            }
        }
    }
}

/// <summary>
/// Einziger, Friedman and Manes, 2017, as in Caffeine's defaults: a window of 1 %, then a segmented LRU (80 % protected) guarded by a count-min sketch of four
/// rows and 4-bit counters that are halved after ten times as many requests as the cache has chunks.
/// </summary>
internal sealed class WindowTinyLfu(Trace trace, long capacity) : ReplayedCache("W-TinyLFU")
{
    private const int Window = 1;
    private const int Probation = 2;
    private const int Protected = 3;

    private readonly Queues _queues = new(trace.Bytes, 3);
    private readonly FrequencySketch _sketch = new((int)(capacity / Chunk.SizeBytes) + 1);
    private readonly long _windowBytes = capacity / 100;
    private readonly long _protectedBytes = (capacity - capacity / 100) * 8 / 10;

    public override Served Request(int chunk)
    {
        _sketch.Count(chunk);
        switch (_queues.Of(chunk))
        {
            case Window:
                _queues.Move(chunk, Window);
                return Served.Ram;
            case Probation or Protected:
                _queues.Move(chunk, Protected);
                while (_queues.Bytes[Protected] > _protectedBytes)
                    _queues.Move(_queues.Oldest(Protected), Probation);
                return Served.Ram;
        }

        _queues.Add(chunk, Window);
        while (_queues.Bytes[Window] > _windowBytes && _queues.Counts[Window] > 1)
        {
            var candidate = _queues.Oldest(Window);
            _queues.Move(candidate, Probation);
            while (_queues.Bytes[Probation] + _queues.Bytes[Protected] > capacity - _windowBytes)
            {
                var victim = _queues.Oldest(Probation);
                if (victim == candidate || _sketch.Estimate(candidate) > _sketch.Estimate(victim))
                {
                    _queues.Remove(victim);
                    continue;
                }

                _queues.Remove(candidate);
                break;
            }
        }

        return Served.Upstream;
    }

    private sealed class FrequencySketch(int capacity)
    {
        private const int Rows = 4;
        private const int Max = 15;

        private readonly byte[] _counters = new byte[Rows * (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)capacity)];
        private long _counted;

        public void Count(int chunk)
        {
            var width = _counters.Length / Rows;
            for (var row = 0; row < Rows; row++)
            {
                ref var counter = ref _counters[row * width + Slot(chunk, row, width)];
                if (counter < Max)
                    counter++;
            }

            if (++_counted < 10L * capacity)
                return;
            _counted /= 2;
            for (var i = 0; i < _counters.Length; i++)
                _counters[i] /= 2;
        }

        public int Estimate(int chunk)
        {
            var width = _counters.Length / Rows;
            var least = Max;
            for (var row = 0; row < Rows; row++)
                least = Math.Min(least, _counters[row * width + Slot(chunk, row, width)]);
            return least;
        }

        private static int Slot(int chunk, int row, int width)
        {
            var x = ((ulong)chunk + 1) * (0x9E3779B97F4A7C15 + 2 * (ulong)row * 0x94D049BB133111EB);
            x ^= x >> 32;
            x *= 0xD6E8FEB86659FD93;
            return (int)(x >> 33) & (width - 1);
        }
    }
}

/// <summary>
/// Yang et al., SOSP 2023, Algorithm 1: a small queue of 10 %, a ghost of as many names as main holds chunks, uses counted to 3, promotion of what was used more
/// than once; sized in bytes.
/// </summary>
internal sealed class S3Fifo(Trace trace, long capacity) : ReplayedCache("S3-FIFO")
{
    private const int Small = 1;
    private const int Main = 2;
    private const int Ghost = 3;

    private readonly Queues _queues = new(trace.Bytes, 3);
    private readonly byte[] _uses = new byte[trace.Chunks];

    public override Served Request(int chunk)
    {
        var queue = _queues.Of(chunk);
        if (queue is Small or Main)
        {
            if (_uses[chunk] < 3)
                _uses[chunk]++;
            return Served.Ram;
        }

        while (_queues.Bytes[Small] + _queues.Bytes[Main] + trace.Bytes[chunk] > capacity)
        {
            if (_queues.Bytes[Small] >= capacity / 10 || _queues.Counts[Main] == 0)
                EvictSmall();
            else
                EvictMain();
        }

        _uses[chunk] = 0;
        // Room was made first, as in the paper: the ghost may have forgotten the chunk by now.
        if (_queues.Of(chunk) == Ghost)
            _queues.Move(chunk, Main);
        else
            _queues.Add(chunk, Small);
        return Served.Upstream;
    }

    private void EvictSmall()
    {
        var chunk = _queues.Oldest(Small);
        if (_uses[chunk] > 1)
        {
            _uses[chunk] = 0;
            _queues.Move(chunk, Main);
            return;
        }

        _queues.Move(chunk, Ghost);
        while (_queues.Counts[Ghost] > capacity * 9 / 10 / Chunk.SizeBytes)
            _queues.Remove(_queues.Oldest(Ghost));
    }

    private void EvictMain()
    {
        while (true)
        {
            var chunk = _queues.Oldest(Main);
            if (_uses[chunk] == 0)
            {
                _queues.Remove(chunk);
                return;
            }

            _uses[chunk]--;
            _queues.Move(chunk, Main);
        }
    }
}

/// <summary>Belady's MIN: it knows the future, keeps what is asked for soonest, and does not admit what is asked for later than all that it has.</summary>
internal sealed class Belady : ReplayedCache
{
    private readonly Trace _trace;
    private readonly long _capacity;
    private readonly int[] _nextUse;
    private readonly bool[] _isIn;
    private readonly PositionSet _uses;
    private long _bytes;
    private int _now;

    public Belady(Trace trace, long capacity)
        : base("Belady")
    {
        _trace = trace;
        _capacity = capacity;
        _isIn = new bool[trace.Chunks];
        _uses = new(trace.Requests.Length);
        _nextUse = new int[trace.Requests.Length];
        var next = new int[trace.Chunks];
        Array.Fill(next, -1);
        for (var i = trace.Requests.Length - 1; i >= 0; i--)
        {
            _nextUse[i] = next[trace.Requests[i]];
            next[trace.Requests[i]] = i;
        }
    }

    public override Served Request(int chunk)
    {
        var now = _now++;
        var hit = _isIn[chunk];
        if (hit)
            Forget(now);
        if (_nextUse[now] >= 0)
        {
            _isIn[chunk] = true;
            _uses.Add(_nextUse[now]);
            _bytes += _trace.Bytes[chunk];
            while (_bytes > _capacity)
                Forget(_uses.Last());
        }

        return Of(hit);
    }

    // Everything in the cache is in the set by the position of its next use.
    private void Forget(int position)
    {
        _uses.Remove(position);
        _isIn[_trace.Requests[position]] = false;
        _bytes -= _trace.Bytes[_trace.Requests[position]];
    }

    /// <summary>Positions of a trace, the last of which is found in a few steps: a bitmap, and bitmaps of which words of the one below are not empty.</summary>
    private sealed class PositionSet
    {
        private readonly List<ulong[]> _levels = [];

        public PositionSet(int positions)
        {
            do
            {
                positions = (positions + 63) / 64;
                _levels.Add(new ulong[positions]);
            }
            while (positions > 1);
        }

        public void Add(int position)
        {
            foreach (var level in _levels)
            {
                level[position >> 6] |= 1UL << (position & 63);
                position >>= 6;
            }
        }

        public void Remove(int position)
        {
            foreach (var level in _levels)
            {
                level[position >> 6] &= ~(1UL << (position & 63));
                if (level[position >> 6] != 0)
                    return;
                position >>= 6;
            }
        }

        public int Last()
        {
            var position = 0;
            for (var i = _levels.Count - 1; i >= 0; i--)
                position = position << 6 | 63 - System.Numerics.BitOperations.LeadingZeroCount(_levels[i][position]);
            return position;
        }
    }
}
