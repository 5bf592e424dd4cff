using System.Diagnostics;

namespace Delivery.Bench.Load;

/// <summary>
/// All listeners are connected; then all ask for one cold object at once, most for its first bytes, some for all of it. Latency is from each listener's own sending to the first byte of
/// its body. A smaller stampede on another object goes before: compilers on both sides.
/// </summary>
internal static class Stampede
{
    private const int WarmListeners = 400;

    /// <summary>Requests sent between two looks at what has come back.</summary>
    private const int SendBurst = 16;

    public static void Run(Arguments arguments, Dictionary<string, object> report)
    {
        var target = Target.From(arguments);
        using var origin = new OriginView(arguments.Optional("origin"));
        var cpu = new ServerCpu(arguments.Text("server-pids"));
        var (clients, whole, range) = (arguments.Count("clients"), arguments.Count("whole"), arguments.Number("range", 65_536));
        var (path, warmPath) = (arguments.Text("path"), arguments.Text("warm-path"));
        var checkEvery = arguments.Count("check-every", 16);
        var deadline = TimeSpan.FromSeconds(arguments.Count("deadline", 120));
        arguments.End();

        var count = clients + whole;
        using var epoll = new Epoll();
        var listeners = new Listener[count];
        var wholeEvery = whole == 0 ? int.MaxValue : count / whole;
        var isWhole = new bool[count];
        for (var (i, left) = (0, whole); i < count; i++)
        {
            isWhole[i] = left > 0 && i % wholeEvery == wholeEvery - 1;
            left -= isWhole[i] ? 1 : 0;
            listeners[i] = new(target.Address) { Checks = i % checkEvery == 0 };
            epoll.Watch(listeners[i].Descriptor, i);
        }

        Fire(epoll, target, listeners.AsSpan(0, Math.Min(WarmListeners, count)), isWhole, warmPath, range, deadline);
        origin.Reset();
        GC.Collect();
        cpu.Start();
        var own = Environment.CpuUsage.TotalTime;
        var before = listeners.Sum(listener => listener.Bytes);
        var (started, ended) = Fire(epoll, target, listeners, isWhole, path, range, deadline);
        report["serverCpuMs"] = cpu.Milliseconds;
        report["loadBusyPercent"] = Math.Round((Environment.CpuUsage.TotalTime - own) / Stopwatch.GetElapsedTime(started, ended) * 100);

        var (first, all) = (new Samples(), new Samples());
        for (var i = 0; i < count; i++)
        {
            if (listeners[i].Error is not null)
                continue;
            first.Add(listeners[i].SentAt, listeners[i].FirstByteAt);
            if (isWhole[i])
                all.Add(listeners[i].SentAt, listeners[i].EndedAt);
        }

        report["clients"] = clients;
        report["whole"] = whole;
        report["errors"] = listeners.Count(listener => listener.Error is not null);
        report["error"] = string.Join("; ", listeners.Where(listener => listener.Error is not null).GroupBy(listener => listener.Error).Select(group => $"{group.Count()} {group.Key}"));
        report["bytes"] = listeners.Sum(listener => listener.Bytes) - before;
        report["totalMs"] = Math.Round(Stopwatch.GetElapsedTime(started, ended).TotalMilliseconds, 1);
        first.Report(report, "firstByte");
        all.Report(report, "wholeBody");
        origin.Report(report);
        foreach (var listener in listeners)
            listener.Dispose();
    }

    private static (long Started, long Ended) Fire(Epoll epoll, Target target, Span<Listener> listeners, bool[] isWhole, string path, long range, TimeSpan deadline)
    {
        var start = Content.StartOf(path);
        var requests = new byte[listeners.Length][];
        for (var i = 0; i < requests.Length; i++)
            requests[i] = target.Request(path, isWhole[i] ? null : range, i);
        var waiting = 0;
        var started = Stopwatch.GetTimestamp();
        for (var next = 0; next < listeners.Length || waiting > 0;)
        {
            for (var burst = 0; burst < SendBurst && next < listeners.Length; burst++, next++)
            {
                if (listeners[next].Error is not null)
                    continue;
                listeners[next].Ask(requests[next], start, 0, isWhole[next] ? target.ObjectBytes : range);
                waiting += listeners[next].Busy ? 1 : 0;
            }

            foreach (var ready in epoll.Wait(next < listeners.Length ? 0 : 100))
            {
                var listener = listeners[ready.Number];
                waiting -= listener.Read() ? 1 : 0;
                if (listener.Error is not null)
                    listener.Dispose();
            }

            if (Stopwatch.GetElapsedTime(started) > deadline)
            {
                foreach (var listener in listeners)
                {
                    if (listener.Busy)
                        listener.GiveUp();
                }

                break;
            }
        }

        return (started, Stopwatch.GetTimestamp());
    }
}
