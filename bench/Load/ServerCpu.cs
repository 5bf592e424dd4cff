using System.Globalization;

namespace Delivery.Bench.Load;

/// <summary>User and system time of the server's processes (proc(5)), in milliseconds; a tick is 10 ms.</summary>
internal sealed class ServerCpu(string processIds)
{
    private readonly string[] _files = [.. processIds.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(id => $"/proc/{id}/stat")];
    private long _started;

    public void Start() => _started = Ticks();

    public long Milliseconds => (Ticks() - _started) * 10;

    // Fields 14 and 15; the name before them may hold spaces.
    private long Ticks() => _files.Sum(file =>
    {
        var text = File.ReadAllText(file);
        var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
        return long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture);
    });
}
