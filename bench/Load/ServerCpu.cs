using System.Globalization;

namespace Delivery.Bench.Load;

/// <summary>User and system time of the server's processes (proc(5)), in milliseconds; a tick is 10 ms.</summary>
internal sealed class ServerCpu(string processIds)
{
    private readonly string[] _files = [.. processIds.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(id => $"/proc/{id}/stat")];
    private readonly long[] _last = new long[processIds.Split(',', StringSplitOptions.RemoveEmptyEntries).Length];
    private long _started;

    public void Start() => _started = Ticks();

    public long Milliseconds => (Ticks() - _started) * 10;

    // Fields 14 and 15; the name before them may hold spaces. A process that has ended (nginx's cache loader does, a minute after the start) keeps what it had.
    private long Ticks()
    {
        for (var i = 0; i < _files.Length; i++)
        {
            if (!File.Exists(_files[i]))
                continue;
            var text = File.ReadAllText(_files[i]);
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            _last[i] = long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
        }

        return _last.Sum();
    }
}
