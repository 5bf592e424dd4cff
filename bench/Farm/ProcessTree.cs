using System.Globalization;

namespace Delivery.Bench.Farm;

/// <summary>What the kernel says of processes and all that they have started (proc(5)).</summary>
internal static class ProcessTree
{
    private const double TicksPerSecond = 100; // sysconf(_SC_CLK_TCK) on Linux

    /// <summary>
    /// CPU seconds of the whole machine: bubblewrap does not wait for what it has started, so a worker's own account lacks its tools. With it counts everything
    /// beside the worker too: the broker, and the bench.
    /// </summary>
    public static double MachinesCpuSeconds()
    {
        var fields = File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..];
        double Of(int field) => double.Parse(fields[field], CultureInfo.InvariantCulture);
        return (Of(0) + Of(1) + Of(2) + Of(5) + Of(6)) / TicksPerSecond; // user, nice, system, irq, softirq
    }

    /// <summary>Resident bytes now, of the process alone and with all that it has started.</summary>
    public static (long Own, long Tree) ResidentBytes(int pid)
    {
        var parents = new Dictionary<int, int>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(folder), out var id) && Stat(id) is { } fields)
                parents[id] = int.Parse(fields[1], CultureInfo.InvariantCulture);
        }

        var own = Resident(pid);
        return (own, own + parents.Keys.Where(id => id != pid && Descends(id)).Sum(Resident));

        bool Descends(int id)
        {
            while (parents.TryGetValue(id, out id))
            {
                if (id == pid)
                    return true;
            }

            return false;
        }
    }

    private static long Resident(int pid)
    {
        try
        {
            return long.Parse(File.ReadAllText($"/proc/{pid}/statm").Split(' ')[1], CultureInfo.InvariantCulture) * Environment.SystemPageSize;
        }
        catch (IOException)
        {
            return 0; // It ended.
        }
    }

    /// <summary>The fields after the name, which may hold blanks: 0 is the state.</summary>
    private static string[]? Stat(int pid)
    {
        try
        {
            var text = File.ReadAllText($"/proc/{pid}/stat");
            return text[(text.LastIndexOf(')') + 2)..].Split(' ');
        }
        catch (IOException)
        {
            return null;
        }
    }
}
