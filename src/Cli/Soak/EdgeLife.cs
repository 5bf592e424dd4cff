using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json;
using Delivery.Cli.CommandLine;
using Delivery.Edge;

namespace Delivery.Cli.Soak;

/// <summary>The folders of one run; all below one that is made for it.</summary>
internal sealed record SoakFolder(string Path)
{
    public string Store => System.IO.Path.Combine(Path, "store");

    public string Cache => System.IO.Path.Combine(Path, "cache");

    public string KeyRing => System.IO.Path.Combine(Path, "keys.json");

    /// <summary>Working folder of the edge, and so of whatever it starts: leftovers are found by it.</summary>
    public string Work => System.IO.Path.Combine(Path, "work");

    /// <summary>What one life of the edge logged.</summary>
    public string Log(int life) => System.IO.Path.Combine(Path, string.Create(CultureInfo.InvariantCulture, $"edge-{life:d4}.log"));
}

/// <summary>An edge as its listeners see it.</summary>
internal sealed class EdgeDoor(HttpClient client, long started) : IDisposable
{
    private volatile bool _killed;
    private long _firstHit;

    public HttpClient Client => client;

    /// <summary>Set before the signal is sent: an error that is seen while this is false has another cause.</summary>
    public bool Killed
    {
        get => _killed;
        set => _killed = value;
    }

    /// <summary>From the start to the first answer from the cache; null before it.</summary>
    public TimeSpan? FirstHit => Volatile.Read(ref _firstHit) is var hit and not 0 ? Stopwatch.GetElapsedTime(started, hit) : null;

    public void NoteHit()
    {
        if (Volatile.Read(ref _firstHit) == 0)
            Interlocked.CompareExchange(ref _firstHit, Stopwatch.GetTimestamp(), 0);
    }

    public void Dispose() => client.Dispose();
}

/// <summary>One life of the edge: <c>delivery edge</c> as a child process, from its start to the kill.</summary>
internal sealed class EdgeLife : IDisposable
{
    private const int LogLinesKept = 40;

    private const long MaxLogFileBytes = 16L << 20;

    private static readonly TimeSpan StartBound = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly Queue<string> _log = [];
    private readonly Task _logging;
    private EdgeDoor? _door;
    private HttpClient? _admin;
    private volatile bool _killed;

    private EdgeLife(Process process, int number, long started, string logPath)
    {
        (_process, Number, Started) = (process, number, started);
        _logging = Task.Run(() => PumpLogAsync(logPath));
    }

    /// <summary>From 1.</summary>
    public int Number { get; }

    public int ProcessId => _process.Id;

    /// <summary>Timestamp of the start.</summary>
    public long Started { get; }

    /// <summary>Set before the signal is sent: an error that is seen while this is false has another cause.</summary>
    public bool Killed => _killed;

    public bool HasEnded => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    public bool IsReady { get; private set; }

    /// <summary>To be used when it is ready.</summary>
    public EdgeDoor Door => _door!;

    public TimeSpan? FirstHit => _door?.FirstHit;

    public HttpClient Admin => _admin!;

    public string LogTail
    {
        get
        {
            lock (_log)
                return string.Join('\n', _log);
        }
    }

    /// <summary>Starts an edge on the run's folders and free ports.</summary>
    /// <exception cref="CliException">The program cannot be started.</exception>
    public static EdgeLife Start(SoakSettings settings, SoakFolder folder, int number)
    {
        var start = new ProcessStartInfo { RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true, WorkingDirectory = folder.Work };
        // The kernel kills the edge when this process dies, however it dies (prctl(2), PR_SET_PDEATHSIG). Without util-linux, only an orderly end does.
        List<string> command = File.Exists("/usr/bin/setpriv") ? ["/usr/bin/setpriv", "--pdeathsig", "KILL", "--"] : [];
        var host = Environment.ProcessPath is { } path && Path.GetFileNameWithoutExtension(path) == "dotnet" ? path : "dotnet";
        command.AddRange([host, typeof(EdgeLife).Assembly.Location, "edge", "--json", "--store", folder.Store, "--keys", folder.KeyRing]);
        command.AddRange(["--host", "127.0.0.1", "--port", "0", "--admin-port", "0"]);
        start.FileName = command[0];
        foreach (var argument in command.Skip(1))
            start.ArgumentList.Add(argument);
        // Only what this run says: the machine's own settings for an edge are not under test.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("DELIVERY_", StringComparison.OrdinalIgnoreCase)).ToList())
            start.Environment.Remove(name);
        Set(start, nameof(EdgeOptions.HotTierBytes), settings.RamBytes);
        Set(start, nameof(EdgeOptions.FillBufferBytes), settings.FillBufferBytes);
        // The store's objects are taken away for a moment after each restart; that they were absent must not be remembered.
        Set(start, nameof(EdgeOptions.AbsentTtl), "00:00:00");
        if (settings.DiskTier)
        {
            Set(start, nameof(EdgeOptions.CacheFolder), folder.Cache);
            Set(start, nameof(EdgeOptions.DiskTierBytes), settings.DiskBytes);
        }

        if (settings.Purges)
            Set(start, nameof(EdgeOptions.AdminPurge), true);

        var process = new Process { StartInfo = start };
        var started = Stopwatch.GetTimestamp();
        using var running = new ManualResetEventSlim();
        Exception? failure = null;
        // The death signal comes when the *thread* that started the child ends, so this one lives as long as the child.
        new Thread(() =>
        {
            try
            {
                process.Start();
            }
            catch (Exception e)
            {
                failure = e;
            }

            running.Set();
            if (failure is null)
                process.WaitForExit();
        })
        { IsBackground = true, Name = "soak edge" }.Start();
        running.Wait();
        if (failure is not null)
            throw new CliException(CommandLine.ExitCode.Environment, $"the edge cannot be started: {failure.Message}", failure);
        process.StandardInput.Close();
        return new(process, number, started, folder.Log(number));
    }

    /// <summary>Waits until <c>/readyz</c> says so; null when the edge was killed before.</summary>
    /// <exception cref="SoakException">It ended by itself, or took longer than a minute.</exception>
    public async Task<TimeSpan?> ReadyAsync(CancellationToken cancellationToken)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        bound.CancelAfter(StartBound);
        try
        {
            var line = await _process.StandardOutput.ReadLineAsync(bound.Token);
            if (line is null)
            {
                if (_killed)
                    return null;
                await _process.WaitForExitAsync(bound.Token);
                await _logging;
                throw new SoakException($"the edge did not start: exit code {_process.ExitCode}\n{LogTail}");
            }

            var ready = JsonSerializer.Deserialize<JsonElement>(line);
            _door = new(Connect(ready.GetProperty("edge").GetString()!), Started);
            _admin = Connect(ready.GetProperty("edgeAdmin").GetString()!);
            while (true)
            {
                try
                {
                    using var response = await _admin.GetAsync("/readyz", bound.Token);
                    if (response.StatusCode == HttpStatusCode.OK)
                        break;
                }
                catch (HttpRequestException) when (!_process.HasExited)
                {
                }
                catch (HttpRequestException) when (_killed)
                {
                    return null;
                }

                await Task.Delay(1, bound.Token);
            }

            IsReady = true;
            return Stopwatch.GetElapsedTime(Started);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new SoakException($"the edge was not ready within {StartBound.TotalSeconds} s\n{LogTail}");
        }
    }

    /// <summary>SIGKILL, and the wait until the kernel has taken the process away.</summary>
    public async Task KillAsync()
    {
        _killed = true;
        if (_door is { } door)
            door.Killed = true;
        Kill();
        await _process.WaitForExitAsync(CancellationToken.None);
    }

    /// <summary>SIGKILL now, from wherever this process ends.</summary>
    public void Kill()
    {
        try
        {
            _process.Kill();
        }
        catch (InvalidOperationException)
        {
            // It has ended already.
        }
    }

    /// <summary>SIGTERM, as a service manager stops an edge; false when it had to be killed after the bound.</summary>
    public async Task<bool> StopAsync(TimeSpan bound)
    {
        if (!_process.HasExited)
        {
            using var kill = Process.Start("kill", ["-TERM", _process.Id.ToString(CultureInfo.InvariantCulture)]);
            await kill.WaitForExitAsync(CancellationToken.None);
        }

        using var timeout = new CancellationTokenSource(bound);
        try
        {
            await _process.WaitForExitAsync(timeout.Token);
            await _logging;
            return true;
        }
        catch (OperationCanceledException)
        {
            await KillAsync();
            return false;
        }
    }

    /// <summary>To be called when no exchange is under way with this life any more.</summary>
    public void Dispose()
    {
        Kill();
        _door?.Dispose();
        _admin?.Dispose();
        _process.Dispose();
    }

    private static void Set(ProcessStartInfo start, string option, object value) =>
        start.Environment[$"DELIVERY_EDGE_{option.ToUpperInvariant()}"] = Convert.ToString(value, CultureInfo.InvariantCulture);

    private static HttpClient Connect(string address) => new(new SocketsHttpHandler
    {
        UseProxy = false,
        AllowAutoRedirect = false,
        // A body that a listener leaves ends its connection: that is what players do.
        MaxResponseDrainSize = 0,
        ConnectTimeout = SoakExchange.Patience,
    })
    {
        BaseAddress = new Uri(address),
        // Each exchange has its own bounds.
        Timeout = Timeout.InfiniteTimeSpan,
    };

    private async Task PumpLogAsync(string path)
    {
        await using var file = new StreamWriter(path) { AutoFlush = true };
        while (await _process.StandardError.ReadLineAsync() is { } line)
        {
            // A log that never ends is a fault of its own, and must not fill the disk.
            if (file.BaseStream.Position < MaxLogFileBytes)
                await file.WriteLineAsync(line);
            lock (_log)
            {
                _log.Enqueue(line);
                if (_log.Count > LogLinesKept)
                    _log.Dequeue();
            }
        }
    }
}

/// <summary>The run cannot go on; the message says why.</summary>
internal sealed class SoakException(string message) : Exception(message);
