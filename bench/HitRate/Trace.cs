using Delivery.Edge;
using Delivery.Edge.Cache;

namespace Delivery.Bench.HitRate;

/// <summary>What is asked for, in order. Chunks have dense numbers, so that a policy's state is a few arrays.</summary>
internal sealed class Trace
{
    private readonly int[] _track;
    private readonly short[] _index;

    public Trace(int[] requests, bool[] halves, int[] track, short[] index, int[] bytes)
    {
        Requests = requests;
        Halves = halves;
        _track = track;
        _index = index;
        Bytes = bytes;
        Footprint = bytes.Sum(b => (long)b);
    }

    /// <summary>Chunk of each request.</summary>
    public int[] Requests { get; }

    /// <summary>Requests for the first 64 KiB of their chunk alone: a listener who does not go on.</summary>
    public bool[] Halves { get; }

    /// <summary>Length of each chunk.</summary>
    public int[] Bytes { get; }

    public int Chunks => Bytes.Length;

    /// <summary>Bytes of all chunks that are asked for at all.</summary>
    public long Footprint { get; }

    public bool IsHead(int chunk) => _index[chunk] == 0;

    public ChunkKey Key(int chunk) => new(new(Mix((ulong)_track[chunk] * 2 + 1), Mix((ulong)_track[chunk] * 2)), _index[chunk]);

    public int Wanted(int request) => Halves[request] ? Math.Min(Chunk.SizeBytes / 2, Bytes[Requests[request]]) : Bytes[Requests[request]];

    // splitmix64: stands for the SHA-256 of a path, which is as uniform.
    private static ulong Mix(ulong x)
    {
        x += 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}

/// <summary>What the listeners do.</summary>
internal sealed record TraceOptions
{
    /// <summary>Exponent of the tracks' popularity.</summary>
    public required double Zipf { get; init; }

    public int Tracks { get; init; } = 1_000_000;

    public int Requests { get; init; } = 20_000_000;

    public int Seed { get; init; } = 20261121;

    /// <summary>Listeners at once; their requests are mixed at random.</summary>
    public int Sessions { get; init; } = 2000;

    /// <summary>Share of session starts that an album's 20 new tracks take at half-time; it decays to a third every tenth of the trace.</summary>
    public double AlbumShare { get; init; } = 0.20;

    /// <summary>Share of session starts that are a crawler's: whole files, each once, from the tail.</summary>
    public double CrawlerShare { get; init; } = 0.05;
}

/// <summary>
/// Listeners who start tracks: a first range of 64 KiB, then ranges on. A quarter hears the head alone, 15 % leave somewhere, the rest go to the end;
/// one in ten who go on seeks once.
/// </summary>
internal static class TraceGenerator
{
    private const int AlbumTracks = 20;
    private const double HeadOnly = 0.25;
    private const double LeavesLater = 0.15;
    private const double Seeks = 0.10;

    public static Trace Generate(TraceOptions options)
    {
        var random = new Random(options.Seed);
        var tracks = options.Tracks + AlbumTracks;
        var lengths = Lengths(tracks, random);
        var firstChunk = new int[tracks + 1];
        for (var i = 0; i < tracks; i++)
            firstChunk[i + 1] = firstChunk[i] + (int)((lengths[i] + Chunk.SizeBytes - 1L) / Chunk.SizeBytes);

        var popularity = Cumulative(options);
        // The crawler walks the less popular nine tenths in an order of its own.
        var crawl = Enumerable.Range(options.Tracks / 10, options.Tracks - options.Tracks / 10).ToArray();
        random.Shuffle(crawl);
        var crawled = 0;

        var requests = new int[options.Requests];
        var halves = new bool[options.Requests];
        var sessions = new Session[options.Sessions];
        for (var i = 0; i < options.Requests; i++)
        {
            ref var session = ref sessions[random.Next(sessions.Length)];
            if (session.Left <= 0)
                session = Start((double)i / options.Requests);
            requests[i] = firstChunk[session.Track] + session.Next;
            halves[i] = session.Half;
            session.Next++;
            session.Left--;
            if (session.SeekAt == session.Next && session.Left > 1)
            {
                var skipped = random.Next(session.Left);
                session.Next += skipped;
                session.Left -= skipped;
            }
        }

        return Densify(requests, halves, firstChunk, lengths);

        Session Start(double now)
        {
            int track;
            var sinceDrop = now - 0.5;
            var album = sinceDrop < 0 ? 0 : options.AlbumShare * Math.Pow(3, -sinceDrop * 10);
            var who = random.NextDouble();
            if (who < options.CrawlerShare && crawled < crawl.Length)
            {
                track = crawl[crawled++];
                return new() { Track = track, Left = Count(track), SeekAt = -1 };
            }

            if (who > 1 - album)
                track = options.Tracks + random.Next(AlbumTracks);
            else
                track = Find(popularity, random.NextDouble());
            var count = Count(track);
            var how = random.NextDouble();
            if (how < HeadOnly)
                return new() { Track = track, Left = 1, Half = true, SeekAt = -1 };
            var left = how < HeadOnly + LeavesLater ? 1 + random.Next(count) : count;
            return new() { Track = track, Left = left, SeekAt = random.NextDouble() < Seeks ? 1 + random.Next(count) : -1 };
        }

        int Count(int track) => firstChunk[track + 1] - firstChunk[track];
    }

    private struct Session
    {
        public int Track;
        public int Next;
        public int Left;
        public int SeekAt;
        public bool Half;
    }

    // A tenth are previews of 30 s; the others last 2 to 6 minutes; 96 to 320 kbit/s, 10 MB at most. Rank and length have nothing to do with each other.
    private static int[] Lengths(int tracks, Random random)
    {
        int[] bytesPerSecond = [12_000, 20_000, 32_000, 40_000];
        var lengths = new int[tracks];
        for (var i = 0; i < tracks; i++)
        {
            var seconds = random.Next(10) == 0 ? 30 : 120 + random.NextDouble() * 120 + random.NextDouble() * 120;
            lengths[i] = (int)Math.Min(10_000_000, seconds * bytesPerSecond[random.Next(bytesPerSecond.Length)]);
        }

        return lengths;
    }

    private static double[] Cumulative(TraceOptions options)
    {
        var sums = new double[options.Tracks];
        var sum = 0.0;
        for (var i = 0; i < sums.Length; i++)
            sums[i] = sum += Math.Pow(i + 1, -options.Zipf);
        return sums;
    }

    private static int Find(double[] cumulative, double at)
    {
        var found = Array.BinarySearch(cumulative, at * cumulative[^1]);
        return Math.Min(found < 0 ? ~found : found, cumulative.Length - 1);
    }

    private static Trace Densify(int[] requests, bool[] halves, int[] firstChunk, int[] lengths)
    {
        var dense = new int[firstChunk[^1]];
        foreach (var chunk in requests)
            dense[chunk] = 1;
        var count = 0;
        for (var chunk = 0; chunk < dense.Length; chunk++)
            dense[chunk] = dense[chunk] == 1 ? count++ : -1;
        var track = new int[count];
        var index = new short[count];
        var bytes = new int[count];
        for (var t = 0; t < lengths.Length; t++)
        {
            for (var chunk = firstChunk[t]; chunk < firstChunk[t + 1]; chunk++)
            {
                if (dense[chunk] < 0)
                    continue;
                track[dense[chunk]] = t;
                index[dense[chunk]] = (short)(chunk - firstChunk[t]);
                bytes[dense[chunk]] = Math.Min(Chunk.SizeBytes, lengths[t] - (chunk - firstChunk[t]) * Chunk.SizeBytes);
            }
        }

        for (var i = 0; i < requests.Length; i++)
            requests[i] = dense[requests[i]];
        return new(requests, halves, track, index, bytes);
    }
}
