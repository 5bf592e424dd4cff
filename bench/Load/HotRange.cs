using System.Diagnostics;

namespace Delivery.Bench.Load;

/// <summary>
/// One hot range, asked in a closed loop (each connection asks again at once: the maximum rate), or in an open one: requests arrive at a constant rate whatever the server does, one that
/// finds every connection busy waits, and latency counts from the arrival, so that a stall is charged to all who came during it (no coordinated omission).
/// </summary>
internal static class HotRange
{
    /// <summary>Not counted at the start of a run.</summary>
    private static readonly TimeSpan s_settling = TimeSpan.FromSeconds(0.5);

    private static readonly TimeSpan s_draining = TimeSpan.FromSeconds(5);

    public static void Run(Arguments arguments, Dictionary<string, object> report, bool open)
    {
        var target = Target.From(arguments);
        var cpu = new ServerCpu(arguments.Text("server-pids", ""));
        var (path, range, connections) = (arguments.Text("path"), arguments.Number("range", 65_536), arguments.Count("connections", open ? 256 : 32));
        var seconds = TimeSpan.FromSeconds(arguments.Count("seconds"));
        var rate = open ? arguments.Count("rate") : 0;
        arguments.End();

        using var epoll = new Epoll();
        var listeners = new Listener[connections];
        var requests = new byte[connections][];
        for (var i = 0; i < connections; i++)
        {
            listeners[i] = new(target.Address) { Checks = false };
            requests[i] = target.Request(path, range, i);
            epoll.Watch(listeners[i].Descriptor, i);
        }

        var start = Content.StartOf(path);
        var idle = new Stack<int>(Enumerable.Range(0, connections));
        var arrivals = new Queue<long>();
        var arrived = new long[connections];
        var (latency, late) = (new Samples(1 << 20), new Samples(1 << 20));
        var (answered, busy) = (0L, 0);

        cpu.Start();
        var began = Stopwatch.GetTimestamp();
        var counted = began + Ticks(s_settling);
        var ends = counted + Ticks(seconds);
        var interval = open ? (double)Stopwatch.Frequency / rate : 0;
        for (var number = 0L; ;)
        {
            var now = Stopwatch.GetTimestamp();
            if (open)
            {
                for (long at; (at = began + (long)(number * interval)) <= now && at < ends; number++)
                    arrivals.Enqueue(at);
                while (arrivals.Count > 0 && idle.TryPop(out var listener))
                {
                    if (listeners[listener].Error is null)
                        Ask(listener, arrivals.Dequeue());
                }
            }
            else if (now < ends)
            {
                while (idle.TryPop(out var listener))
                {
                    if (listeners[listener].Error is null)
                        Ask(listener, now);
                }
            }

            // Spins: a timer's granularity would be part of every figure.
            foreach (var ready in epoll.Wait(0))
            {
                var listener = listeners[ready.Number];
                var ended = listener.Read();
                if (listener.Error is not null)
                    listener.Dispose();
                if (!ended)
                    continue;
                busy--;
                if (listener.Error is not null)
                    continue;
                if (arrived[ready.Number] >= counted && arrived[ready.Number] < ends)
                {
                    latency.Add(arrived[ready.Number], listener.FirstByteAt);
                    late.Add(arrived[ready.Number], listener.SentAt);
                    answered += listener.EndedAt < ends ? 1 : 0;
                }

                idle.Push(ready.Number);
            }

            if (now >= ends && ((arrivals.Count == 0 && busy == 0) || now >= ends + Ticks(s_draining)))
                break;
        }

        report["offered"] = rate;
        report["rate"] = Math.Round(answered / seconds.TotalSeconds);
        report["samples"] = latency.Count;
        report["errors"] = listeners.Count(listener => listener.Error is not null) + arrivals.Count + busy;
        report["error"] = listeners.FirstOrDefault(listener => listener.Error is not null)?.Error ?? "";
        report["serverCpuMs"] = cpu.Milliseconds;
        latency.Report(report, "firstByte");
        // From arrival to sending: waiting for a free connection, or for this client. When it is not far below the latency, the client or its connections are measured.
        late.Report(report, "sentLate");
        foreach (var listener in listeners)
            listener.Dispose();

        void Ask(int listener, long arrival)
        {
            arrived[listener] = arrival;
            listeners[listener].Ask(requests[listener], start, 0, range);
            busy += listeners[listener].Busy ? 1 : 0;
        }
    }

    private static long Ticks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);
}
