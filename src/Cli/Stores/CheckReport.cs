using System.Diagnostics;
using System.Globalization;
using Delivery.Cli.CommandLine;
using Delivery.ObjectStore;

namespace Delivery.Cli.Stores;

/// <summary>How one check of a store ended: <c>ok</c>, <c>warning</c>, <c>failed</c> or <c>skipped</c>, why, and what to do.</summary>
internal sealed record CheckLine(string Check, string Outcome, string? Detail, string? Advice = null, double? P50Ms = null, double? P95Ms = null);

/// <summary>The last line of a check.</summary>
internal sealed record CheckEnd(string Store, bool Ok, int Failed, int Warnings);

/// <summary>What a step found wrong, and what an operator does about it.</summary>
internal sealed class CheckException(string detail, string advice, bool isWarning = false) : Exception(detail)
{
    public string Advice { get; } = advice;

    public bool IsWarning { get; } = isWarning;
}

/// <summary>Runs the steps of a check and tells of each.</summary>
/// <param name="url">The store's name.</param>
/// <param name="context">Where it is told.</param>
internal sealed class CheckReport(StoreUrl url, CommandContext context)
{
    private (double P50, double P95)? _latency;
    private int _good;
    private int _failed;
    private int _warnings;

    /// <summary>Whether the store does not answer at all.</summary>
    public bool IsUnreachable { get; private set; }

    /// <summary>One step, which gives what it found.</summary>
    /// <returns>False when it failed.</returns>
    public async Task<bool> StepAsync(string check, Func<Task<string?>> step, CancellationToken cancellationToken)
    {
        try
        {
            Tell(new(check, "ok", await step()));
            return true;
        }
        catch (CheckException e)
        {
            Tell(new(check, e.IsWarning ? "warning" : "failed", e.Message, e.Advice));
            return e.IsWarning;
        }
        catch (StoreException e)
        {
            IsUnreachable |= _good == 0 && e.Error == StoreError.Unavailable;
            Tell(new(check, "failed", $"{e.Error}: {e.Message}", AdviceFor(e.Error)));
            return false;
        }
        catch (OperationCanceledException e) when (!cancellationToken.IsCancellationRequested)
        {
            Tell(new(check, "failed", $"It took too long: {e.Message}", AdviceFor(StoreError.Unavailable)));
            return false;
        }
    }

    /// <summary>Twenty runs of a call, one after the other, the first of all uncounted.</summary>
    public Task<bool> LatencyAsync(string check, Func<int, Task> call, CancellationToken cancellationToken) => StepAsync(
        check,
        async () =>
        {
            const int count = 20;
            await call(0);
            var times = new double[count];
            for (var i = 0; i < count; i++)
            {
                var started = Stopwatch.GetTimestamp();
                await call(i + 1);
                times[i] = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
            }

            Array.Sort(times);
            var (p50, p95) = (Math.Round(times[count / 2], 2), Math.Round(times[(count * 95 / 100) - 1], 2));
            _latency = (p50, p95);
            return string.Create(CultureInfo.InvariantCulture, $"p50 {p50:0.0} ms, p95 {p95:0.0} ms, of {count}");
        },
        cancellationToken);

    public void Skip(string reason, params string[] checks)
    {
        foreach (var check in checks)
            Tell(new(check, "skipped", reason));
    }

    /// <summary>The last line, and the exit code.</summary>
    public int End()
    {
        if (context.Json)
            context.WriteJson(new(url.ToString(), _failed == 0, _failed, _warnings), CliJson.Default.CheckEnd);
        else
            context.Output.WriteLine(_failed == 0 ? $"{url} is good{(_warnings > 0 ? ", with warnings" : "")}" : $"{url} failed {_failed} check{(_failed == 1 ? "" : "s")}");
        context.Output.Flush();
        return _failed == 0 ? ExitCode.Ok : IsUnreachable ? ExitCode.Unreachable : ExitCode.Failed;
    }

    private void Tell(CheckLine line)
    {
        _good += line.Outcome == "ok" ? 1 : 0;
        _failed += line.Outcome == "failed" ? 1 : 0;
        _warnings += line.Outcome == "warning" ? 1 : 0;
        if (_latency is { } latency)
            (line, _latency) = (line with { P50Ms = latency.P50, P95Ms = latency.P95 }, null);
        if (context.Json)
        {
            context.WriteJson(line, CliJson.Default.CheckLine);
            return;
        }

        context.Output.WriteLine($"{line.Outcome,-8} {line.Check,-18} {line.Detail}".TrimEnd());
        if (line.Advice is not null)
            context.Output.WriteLine($"{"",-27} → {line.Advice}");
        context.Output.Flush();
    }

    private string AdviceFor(StoreError error) => error switch
    {
        StoreError.Denied => "grant these credentials the rights that docs/configuration.md lists under Permissions",
        StoreError.Misconfigured => "name a bucket that exists, with its own region and endpoint",
        StoreError.ClockSkewed => "set this machine's clock (NTP)",
        StoreError.Full => "make room, or raise the quota",
        StoreError.Corrupt or StoreError.DigestMismatch or StoreError.LengthMismatch => "something between here and the store changes bytes: do not use it before that is found",
        StoreError.Unavailable => "see whether the endpoint is right and can be reached from here",
        _ when url.Scheme == StoreScheme.S3 && url.Option("checksums") is null => "where the server is not Amazon's, set checksums=whenRequired in the URL, and check again",
        _ => "this server does not do what a store must: do not use it as a primary",
    };
}
