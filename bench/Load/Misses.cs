using System.Diagnostics;
using System.Globalization;

namespace Delivery.Bench.Load;

/// <summary>
/// First ranges of many cold objects, each asked once, a fixed number at a time. What a contender adds is its listener's first byte less the time that the origin itself took over its first
/// request for the object, both by the machine's monotonic clock.
/// </summary>
internal static class Misses
{
    public static void Run(Arguments arguments, Dictionary<string, object> report)
    {
        var target = Target.From(arguments);
        using var origin = new OriginView(arguments.Optional("origin"));
        var (count, concurrency, warm, range) = (arguments.Count("count"), arguments.Count("concurrency"), arguments.Count("warm", 100), arguments.Number("range", 65_536));
        var paths = arguments.Text("paths");
        var deadline = TimeSpan.FromSeconds(arguments.Count("deadline", 300));
        arguments.End();

        using var epoll = new Epoll();
        var listeners = new Listener[concurrency];
        for (var i = 0; i < concurrency; i++)
        {
            listeners[i] = new(target.Address) { Checks = true };
            epoll.Watch(listeners[i].Descriptor, i);
        }

        origin.Reset();
        Ask(epoll, target, listeners, i => Path(paths, count + i), warm, range, deadline);
        origin.Reset();
        GC.Collect();
        var started = Stopwatch.GetTimestamp();
        var times = Ask(epoll, target, listeners, i => Path(paths, i), count, range, deadline);
        report["totalMs"] = Math.Round(Stopwatch.GetElapsedTime(started).TotalMilliseconds, 1);

        var waits = origin.Waits();
        var (first, added) = (new Samples(), new Samples());
        var unasked = 0;
        foreach (var (path, sent, firstByte) in times)
        {
            first.Add(sent, firstByte);
            if (waits.TryGetValue(path, out var wait))
                added.Add(sent, firstByte - wait.FirstWaited);
            else
                unasked++;
        }

        report["objects"] = times.Count;
        report["concurrency"] = concurrency;
        report["errors"] = count - times.Count;
        report["error"] = string.Join("; ", listeners.Where(listener => listener.Error is not null).Select(listener => listener.Error));
        // Not 0 when the contender fills from somewhere else: then "added" is not said of these.
        report["unseenByOrigin"] = unasked;
        first.Report(report, "firstByte");
        added.Report(report, "added");
        origin.Report(report);
        foreach (var listener in listeners)
            listener.Dispose();
    }

    /// <summary>The path of object <paramref name="i"/>; the name of a file as the edge knows them has 40 hex digits.</summary>
    public static string Path(string prefix, int i) => string.Create(CultureInfo.InvariantCulture, $"/audio/{prefix}{i:x8}.ogg");

    private static List<(string Path, long Sent, long FirstByte)> Ask(
        Epoll epoll, Target target, Listener[] listeners, Func<int, string> path, int count, long range, TimeSpan deadline)
    {
        var objects = Enumerable.Range(0, count).Select(i => (Path: path(i), Request: target.Request(path(i), range))).ToArray();
        var asked = new int[listeners.Length];
        var times = new List<(string, long, long)>(count);
        var (next, waiting) = (0, 0);
        for (var i = 0; i < listeners.Length; i++)
            Next(i);
        var started = Stopwatch.GetTimestamp();
        while (waiting > 0 && Stopwatch.GetElapsedTime(started) < deadline)
        {
            foreach (var ready in epoll.Wait(100))
            {
                var listener = listeners[ready.Number];
                var ended = listener.Read();
                if (listener.Error is not null)
                    listener.Dispose();
                if (!ended)
                    continue;
                waiting--;
                if (listener.Error is null)
                    times.Add((objects[asked[ready.Number]].Path, listener.SentAt, listener.FirstByteAt));
                Next(ready.Number);
            }
        }

        return times;

        void Next(int listener)
        {
            if (next == count || listeners[listener].Error is not null)
                return;
            asked[listener] = next++;
            listeners[listener].Ask(objects[asked[listener]].Request, Content.StartOf(objects[asked[listener]].Path), 0, range);
            waiting += listeners[listener].Busy ? 1 : 0;
        }
    }
}
