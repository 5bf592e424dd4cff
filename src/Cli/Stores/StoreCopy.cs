using System.Diagnostics;
using Delivery.Cli.CommandLine;
using Delivery.ObjectStore;
using Delivery.ObjectStore.Copying;

namespace Delivery.Cli.Stores;

/// <summary>Where a copy stands; with <c>--json</c> a line every few seconds.</summary>
/// <param name="Copied">Objects whose bytes went over.</param>
/// <param name="Equal">Objects that were there already.</param>
/// <param name="NotCompared">Objects of equal length, of which no digest tells whether they are the same; <c>--verify</c> reads them.</param>
/// <param name="Failed">Objects that could not be copied.</param>
/// <param name="Bytes">Bytes that went over.</param>
/// <param name="BytesPerSecond">Of the whole run.</param>
/// <param name="At">All keys up to this one are copied: what <c>--start-after</c> takes.</param>
internal sealed record CopyProgressLine(long Copied, long Equal, long NotCompared, long Failed, long Bytes, long BytesPerSecond, string? At);

/// <summary>The last line of a copy.</summary>
internal sealed record CopyEnd(bool Done, long Copied, long Equal, long NotCompared, long Failed, long Bytes, double Seconds, IReadOnlyList<CopyFailure> Failures, string? StartAfter);

/// <summary>An object that could not be copied.</summary>
internal sealed record CopyFailure(string Key, string Error, string Message);

/// <summary>
/// Copies what one store has to another, several objects at once, in the order of the keys. An object that fails does not stop the others; a store that fails does. Memory does not grow with the
/// stores: keys are listed as they are needed, contents streamed.
/// </summary>
internal sealed class StoreCopy(IObjectStore from, IObjectStore to, CommandContext context)
{
    /// <summary>Copies wait for round trips most of the time; more would queue at a link of 1 Gbit/s.</summary>
    public const int DefaultParallel = 16;

    /// <summary>Failures that are told by name; further ones are counted.</summary>
    public const int MaxNamed = 100;

    /// <summary>So many objects in a row cannot all be bad: the store is, and the run ends.</summary>
    public const int MaxFailuresInRow = 50;

    /// <summary>Keys under way or done and waiting for one before them, per copy at once: a large object holds back nobody for long, and memory is bounded.</summary>
    private const int WindowPerCopy = 64;

    private readonly List<CopyFailure> _failures = [];
    private readonly long _started = Stopwatch.GetTimestamp();
    private long _copied;
    private long _equal;
    private long _notCompared;
    private long _failed;
    private long _bytes;
    private int _failedInRow;
    private volatile StoreException? _brokenStore;
    private volatile string? _at;

    public string Prefix { get; init; } = "";

    public string? StartAfter { get; init; }

    public int Parallel { get; init; } = DefaultParallel;

    public bool Verify { get; init; }

    /// <returns>The exit code: 0 when everything that the one store has is in the other.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        _at = StartAfter;
        StoreException? broken = null;
        await using (new LiveStatus(context, Text, Line))
        {
            try
            {
                await CopyAsync(cancellationToken);
            }
            catch (StoreException e)
            {
                broken = e;
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                SayEnd(done: false);
                throw;
            }
        }

        SayEnd(done: broken is null);
        if (broken is not null)
            throw new CliException(broken.CanRetry ? ExitCode.Unreachable : ExitCode.Failed, $"the copy stopped: {broken.Message} {Resume()}", broken);
        return _failed == 0 ? ExitCode.Ok : ExitCode.Failed;
    }

    private async Task CopyAsync(CancellationToken cancellationToken)
    {
        var options = new CopyOptions { Verify = Verify, BytesCopied = count => Interlocked.Add(ref _bytes, count) };
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var slots = new SemaphoreSlim(Parallel);
        var window = new Queue<(ObjectKey Key, Task<bool> Copy)>();
        var isGapless = true;
        try
        {
            await foreach (var entry in from.ListAsync(Prefix, StartAfter, stop.Token))
            {
                if (_brokenStore is not null)
                    break;
                if (StoreKeys.IsStoresOwn(entry.Key))
                    continue;
                while (window.Count >= Parallel * WindowPerCopy || (window.TryPeek(out var first) && first.Copy.IsCompleted))
                    await SettleAsync();
                await slots.WaitAsync(stop.Token);
                window.Enqueue((entry.Key, CopyAsync(entry.Key, slots, options, stop.Token)));
            }

            while (window.Count > 0)
                await SettleAsync();
            if (_brokenStore is { } broken)
                throw broken;
        }
        finally
        {
            // Whatever ended it, nothing runs on behind it, and no stream is left open.
            await stop.CancelAsync();
            await Task.WhenAll(window.Select(one => one.Copy)).ContinueWith(static _ => { }, CancellationToken.None, TaskContinuationOptions.None, TaskScheduler.Default);
        }

        async Task SettleAsync()
        {
            var (key, copy) = window.Peek();
            isGapless &= await copy;
            window.Dequeue();
            if (isGapless)
                _at = key.Value;
        }
    }

    private async Task<bool> CopyAsync(ObjectKey key, SemaphoreSlim slots, CopyOptions options, CancellationToken cancellationToken)
    {
        try
        {
            var result = await ObjectCopy.EnsureAsync(from, to, key, options, cancellationToken);
            Interlocked.Increment(ref result.Outcome == CopyOutcome.Copied ? ref _copied : ref result.Outcome == CopyOutcome.NotCompared ? ref _notCompared : ref _equal);
            Volatile.Write(ref _failedInRow, 0);
            return true;
        }
        catch (StoreException e)
        {
            Interlocked.Increment(ref _failed);
            lock (_failures)
            {
                if (_failures.Count < MaxNamed)
                    _failures.Add(new(key.Value, e.Error.ToString(), e.Message));
            }

            if (Interlocked.Increment(ref _failedInRow) >= MaxFailuresInRow)
                _brokenStore ??= new StoreException(e.Error, $"{MaxFailuresInRow} objects in a row failed, the last with: {e.Message}", e);
            return false;
        }
        finally
        {
            slots.Release();
        }
    }

    private double Seconds => Stopwatch.GetElapsedTime(_started).TotalSeconds;

    private CopyProgressLine Now() => new(
        Volatile.Read(ref _copied), Volatile.Read(ref _equal), Volatile.Read(ref _notCompared), Volatile.Read(ref _failed), Volatile.Read(ref _bytes), (long)(Volatile.Read(ref _bytes) / Math.Max(Seconds, 0.001)), _at);

    private void Line() => context.WriteJson(Now(), CliJson.Default.CopyProgressLine);

    private string Text()
    {
        var now = Now();
        return $"{now.Copied:N0} copied, {now.Equal + now.NotCompared:N0} there{(now.Failed > 0 ? $", {now.Failed:N0} failed" : "")}, {ByteText.Of(now.Bytes)}, {ByteText.Of(now.BytesPerSecond)}/s{(now.At is null ? "" : $", at {now.At}")}";
    }

    private string Resume() => _at is null ? "Run it again." : $"Run it again, or go on with --start-after '{_at}'.";

    private void SayEnd(bool done)
    {
        if (context.Json)
        {
            context.WriteJson(new(done, _copied, _equal, _notCompared, _failed, _bytes, Math.Round(Seconds, 2), [.. _failures], done ? null : _at), CliJson.Default.CopyEnd);
            return;
        }

        foreach (var failure in _failures)
            context.Output.WriteLine($"failed  {failure.Key}: {failure.Error}: {failure.Message}");
        if (_failed > _failures.Count)
            context.Output.WriteLine($"and {_failed - _failures.Count:N0} more");
        context.Output.WriteLine($"{(done ? "" : "stopped: ")}{Text()}");
        if (_notCompared > 0)
            context.Output.WriteLine($"{_notCompared:N0} of those that were there are as long in both stores, and no digest says that they are the same: --verify reads them.");
        if (!done)
            context.Output.WriteLine(Resume());
        context.Output.Flush();
    }
}
