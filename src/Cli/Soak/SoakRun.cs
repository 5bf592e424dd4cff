using System.Diagnostics;
using System.Globalization;
using System.Text;
using Delivery.Cli.CommandLine;
using Delivery.ObjectStore;
using Delivery.TokenAuth;

namespace Delivery.Cli.Soak;

/// <summary>
/// A real edge under load, killed and restarted on the same folder:
/// <code>
/// fill the store ▶ start ▶ load, purges, samples ▶ kill ▶ restart ▶ ready ▶ store away: what comes from disk? ▶ store back: are purges kept? ▶ load … ▶ stop ▶ report
/// </code>
/// </summary>
internal sealed class SoakRun : IDisposable
{
    // Enough to say from which share of the cache a restart answers, and done in some milliseconds.
    private const int RestartSample = 32;

    private const int PurgedSample = 16;

    // Its head came from the cache more often than that: it was used again, so the policy has admitted it to disk.
    private const int HitsOfTheKnown = 2;

    private static readonly TimeSpan StopBound = TimeSpan.FromSeconds(30);

    private readonly SoakSettings _settings;
    private readonly CommandContext _context;
    private readonly SoakFolder _folder;
    private readonly SoakTally _tally = new();
    private readonly LiveEdge _edge = new();
    private readonly SemaphoreSlim _storeInPlace = new(1);
    private readonly List<RestartFigures> _restarts = [];
    private readonly Random _random;
    private readonly List<EdgeLife> _ended = [];
    private EdgeLife? _life;
    private int _lives;
    private int _kills;

    public SoakRun(SoakSettings settings, CommandContext context)
    {
        (_settings, _context) = (settings, context);
        _random = new((int)(settings.Seed * 7 + 5));
        try
        {
            Directory.CreateDirectory(settings.Folder);
            _folder = new(Path.Combine(Path.GetFullPath(settings.Folder), string.Create(CultureInfo.InvariantCulture, $"delivery-soak-{Environment.ProcessId}-{settings.Seed}")));
            if (Directory.Exists(_folder.Path))
                throw new CliException(ExitCode.Environment, $"{_folder.Path} exists; a soak starts with an empty folder");
            Directory.CreateDirectory(_folder.Work);
            Directory.CreateDirectory(_folder.Store);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Environment, $"{settings.Folder} cannot be used: {e.Message}", e);
        }

        AppDomain.CurrentDomain.ProcessExit += KillEdge;
    }

    public async Task<SoakReport> RunAsync(CancellationToken interrupted)
    {
        // 1. The store, larger than what the edge may keep.
        var ring = KeyRing.Generate();
        PrivateFile.Replace(_folder.KeyRing, Encoding.UTF8.GetBytes(ring.ToJson()));
        var total = SoakCatalog.BytesFor(_settings.RamBytes, _settings.DiskTier ? _settings.DiskBytes : 0);
        RequireSpace(total);
        var store = FileStore.Open(_folder.Store);
        Say($"seed {_settings.Seed}; filling a store with {Mebibytes(total)} in {_folder.Path}");
        var catalog = await SoakCatalog.FillAsync(store, ring, _settings.Seed, total, DateTimeOffset.UtcNow + 2 * _settings.Duration + TimeSpan.FromDays(1), _ => { }, interrupted);

        // 2. Load.
        using var end = CancellationTokenSource.CreateLinkedTokenSource(interrupted, _tally.Broken);
        var sampler = new SoakSampler(_edge, _tally, _settings.DiskTier ? _folder.Cache : null);
        var purger = new Purger(catalog, _edge, store, _storeInPlace, _tally, _settings.Seed);
        var listeners = Enumerable.Range(0, _settings.Connections).Select(n => new Listener(catalog, _edge, _tally, n, _settings.Connections, _settings.Seed));
        var started = Stopwatch.GetTimestamp();
        List<Task> tasks = [sampler.RunAsync(Progress(started), end.Token), .. listeners.Select(l => Task.Run(() => l.RunAsync(end.Token), CancellationToken.None))];
        if (_settings.Purges)
            tasks.Add(Task.Run(() => purger.RunAsync(end.Token), CancellationToken.None));
        var stoppedWell = false;
        var leftovers = new List<int>();
        try
        {
            // 3. Kills and restarts.
            await KillAndRestartAsync(catalog, purger, started, end.Token);
            await DelayAsync(_settings.Duration - Stopwatch.GetElapsedTime(started), end.Token);
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
        }
        catch (SoakException e)
        {
            _tally.Report(SoakFault.EdgeEnded, e.Message);
        }
        finally
        {
            // 4. The end: nothing of it may stay.
            await end.CancelAsync();
            await Task.WhenAll(tasks);
            if (_life is { IsReady: true } life)
            {
                stoppedWell = await life.StopAsync(StopBound) && life.ExitCode == 0;
                if (!stoppedWell && !_tally.Broken.IsCancellationRequested)
                    _tally.Report(SoakFault.EdgeEnded, $"the edge did not stop well within {StopBound.TotalSeconds} s of SIGTERM: exit code {life.ExitCode}\n{life.LogTail}");
                NoteFirstHit(life);
            }

            if (_life is not null)
                await _life.KillAsync();
            leftovers.AddRange(ProcessFigures.WorkingIn(_folder.Work));
        }

        return new SoakReport(_settings, catalog, _tally, sampler.Samples, _restarts, purger, leftovers, _kills, Stopwatch.GetElapsedTime(started), interrupted.IsCancellationRequested);
    }

    /// <summary>Removes what the run made.</summary>
    public void RemoveFolder() => Directory.Delete(_folder.Path, recursive: true);

    public string FolderPath => _folder.Path;

    public void Dispose()
    {
        AppDomain.CurrentDomain.ProcessExit -= KillEdge;
        _life?.Dispose();
        foreach (var life in _ended)
            life.Dispose();
        _tally.Dispose();
        _storeInPlace.Dispose();
    }

    private async Task KillAndRestartAsync(SoakCatalog catalog, Purger purger, long started, CancellationToken ending)
    {
        var plan = KillPlan.Make(_settings.Kills, _settings.Duration, _settings.Seed);
        StartEdge();
        if (await _life!.ReadyAsync(ending) is null)
            throw new SoakException("the first edge was killed by somebody else");
        _edge.Open(_life);
        for (var next = 0; next < plan.Count;)
        {
            // 3a. Under load.
            await DelayAsync(plan[next].At - Stopwatch.GetElapsedTime(started), ending);
            await KillEdgeAsync();
            next++;

            // 3b. Restart; sometimes killed before it is ready, or as soon as it serves.
            while (true)
            {
                StartEdge();
                if (Follows(plan, next, KillKind.Starting))
                {
                    await DelayAsync(plan[next++].At, ending);
                    await KillEdgeAsync();
                    continue;
                }

                await RestartedAsync(catalog, purger, ending);
                _edge.Open(_life);
                if (!Follows(plan, next, KillKind.Resumed))
                    break;
                await DelayAsync(plan[next++].At, ending);
                await KillEdgeAsync();
            }
        }
    }

    private static bool Follows(IReadOnlyList<Kill> plan, int next, KillKind kind) => next < plan.Count && plan[next].Kind == kind;

    private void StartEdge()
    {
        // Kept to the run's end: exchanges with the killed edge may still be reading what the kernel had received of it.
        if (_life is not null)
            _ended.Add(_life);
        _life = EdgeLife.Start(_settings, _folder, ++_lives);
    }

    private async Task KillEdgeAsync()
    {
        if (_edge.Now is not null)
            _edge.Close();
        if (_life is { HasEnded: true, Killed: false })
            throw new SoakException($"the edge ended by itself, exit code {_life.ExitCode}\n{_life.LogTail}");
        await _life!.KillAsync();
        NoteFirstHit(_life);
        _kills++;
    }

    // 3c. What the restarted edge has kept.
    private async Task RestartedAsync(SoakCatalog catalog, Purger purger, CancellationToken ending)
    {
        var ready = await _life!.ReadyAsync(ending) ?? throw new SoakException("the edge was killed by somebody else");
        var exchange = new SoakExchange(_tally);
        // What may change is asked of upstream after a restart, whatever the disk holds; the others must be there.
        var known = catalog.Objects.Where(o => o.Hits > HitsOfTheKnown && !o.IsMutable).ToArray();
        _random.Shuffle(known);
        var (asked, answered) = (0, 0);
        if (_settings.DiskTier)
        {
            await _storeInPlace.WaitAsync(ending);
            var (audio, away) = (Path.Combine(_folder.Store, "audio"), Path.Combine(_folder.Store, "away"));
            Directory.Move(audio, away);
            try
            {
                foreach (var target in known.Take(RestartSample))
                {
                    asked++;
                    if (await exchange.RunAsync(_life.Door, target, Ask.Part(target, 0, 64 * 1024), storeIsAway: true, ending) == AnswerState.Hit)
                        answered++;
                }
            }
            finally
            {
                Directory.Move(away, audio);
                _storeInPlace.Release();
            }
        }

        foreach (var target in purger.Latest(PurgedSample))
            await exchange.RunAsync(_life.Door, target, Ask.Whole(target), storeIsAway: false, ending);
        _restarts.Add(new(_life.Number, ready, asked, answered));
    }

    private void NoteFirstHit(EdgeLife life)
    {
        if (_restarts.Count > 0 && _restarts[^1].Life == life.Number)
            _restarts[^1] = _restarts[^1] with { FirstHit = life.FirstHit };
    }

    private void RequireSpace(long storeBytes)
    {
        var needed = storeBytes + storeBytes / 10 + (_settings.DiskTier ? _settings.DiskBoundBytes : 0);
        var free = new DriveInfo(_folder.Path).AvailableFreeSpace;
        if (free < needed)
            throw new CliException(ExitCode.Environment, $"{_folder.Path} has {Mebibytes(free)} free; this soak needs {Mebibytes(needed)} for its store and the cache");
    }

    private Action<SoakSample> Progress(long started)
    {
        var next = TimeSpan.FromSeconds(10);
        return sample =>
        {
            var elapsed = Stopwatch.GetElapsedTime(started);
            if (elapsed < next)
                return;
            next = elapsed + TimeSpan.FromSeconds(10);
            Say($"{elapsed:hh\\:mm\\:ss}  {_tally.Requests} requests, {Mebibytes(_tally.Bytes)}; {_kills} kills; RSS {Mebibytes(sample.Figures.RssBytes)}, " +
                $"{sample.Figures.Descriptors} descriptors, cache {Mebibytes(sample.Figures.CacheBytes)}; {_tally.FaultCount} faults");
        };
    }

    private void Say(string line)
    {
        if (!_context.Json)
            _context.Error.WriteLine(line);
    }

    private void KillEdge(object? sender, EventArgs e)
    {
        try
        {
            _life?.Kill();
        }
        catch (Exception failure) when (failure is ObjectDisposedException or InvalidOperationException)
        {
            // Ended and put away: what is wanted.
        }
    }

    private static Task DelayAsync(TimeSpan time, CancellationToken cancellationToken) =>
        time > TimeSpan.Zero ? Task.Delay(time, cancellationToken) : Task.CompletedTask;

    private static string Mebibytes(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / 1048576.0:0} MiB");
}

/// <summary>One restart after a kill.</summary>
/// <param name="Life">The life that it began.</param>
/// <param name="Ready">From the start of the process to <c>/readyz</c>.</param>
/// <param name="Asked">Objects asked for that the cache was known to hold, with the store away.</param>
/// <param name="Answered">Of those, answered from the cache.</param>
internal sealed record RestartFigures(int Life, TimeSpan Ready, int Asked, int Answered)
{
    /// <summary>From the start of the process to the first answer from the cache; null when it was killed before.</summary>
    public TimeSpan? FirstHit { get; init; }
}
