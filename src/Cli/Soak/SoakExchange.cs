using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;

namespace Delivery.Cli.Soak;

/// <summary>What is asked of an object.</summary>
/// <param name="Range">The <c>Range</c> header's value, or null.</param>
/// <param name="Status">The status that it must get.</param>
/// <param name="Start">First byte of the body.</param>
/// <param name="End">Byte after its last one.</param>
/// <param name="IsHead">HEAD: no body.</param>
/// <param name="LeaveAfter">Bytes after which the client leaves; -1: never.</param>
internal readonly record struct Ask(string? Range, HttpStatusCode Status, long Start, long End, bool IsHead = false, long LeaveAfter = -1)
{
    public static Ask Whole(SoakObject target) => new(null, HttpStatusCode.OK, 0, target.Length);

    public static Ask Head(SoakObject target) => new(null, HttpStatusCode.OK, 0, target.Length, IsHead: true);

    /// <summary><c>bytes=first-last</c>, cut at the object's end.</summary>
    public static Ask Part(SoakObject target, long first, long length) =>
        new(Text($"bytes={first}-{first + length - 1}"), HttpStatusCode.PartialContent, first, Math.Min(first + length, target.Length));

    /// <summary><c>bytes=first-</c>.</summary>
    public static Ask From(SoakObject target, long first) => new(Text($"bytes={first}-"), HttpStatusCode.PartialContent, first, target.Length);

    /// <summary><c>bytes=-length</c>.</summary>
    public static Ask Suffix(SoakObject target, long length) =>
        new(Text($"bytes=-{length}"), HttpStatusCode.PartialContent, Math.Max(0, target.Length - length), target.Length);

    /// <summary>A range past the end: 416.</summary>
    public static Ask PastEnd(SoakObject target) => new(Text($"bytes={target.Length}-"), HttpStatusCode.RequestedRangeNotSatisfiable, 0, 0);

    private static string Text(FormattableString text) => FormattableString.Invariant(text);
}

/// <summary>One request, and the judgement of every byte and header of its response.</summary>
internal sealed class SoakExchange(SoakTally tally)
{
    /// <summary>Nothing of the edge waits so long: its own deadlines for a fill end before.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(45);

    private readonly byte[] _buffer = new byte[64 * 1024];

    /// <summary>Asks and judges.</summary>
    /// <returns>What the cache did; null when there was no whole answer (the tally knows why) or the run ended.</returns>
    /// <param name="edge">Whom.</param>
    /// <param name="target">The object.</param>
    /// <param name="ask">What of it.</param>
    /// <param name="storeIsAway">The store's objects are away: what is not in the cache cannot be answered.</param>
    /// <param name="ending">The run ends.</param>
    public async Task<AnswerState?> RunAsync(EdgeDoor edge, SoakObject target, Ask ask, bool storeIsAway, CancellationToken ending)
    {
        // What may be seen is fixed before the request leaves: a purge that is acknowledged by now binds this answer.
        var (oldest, newest) = (target.Oldest, target.Newest);
        using var patience = CancellationTokenSource.CreateLinkedTokenSource(ending);
        patience.CancelAfter(Patience);
        using var request = new HttpRequestMessage(ask.IsHead ? HttpMethod.Head : HttpMethod.Get, target.Target);
        if (ask.Range is not null)
            request.Headers.TryAddWithoutValidation("Range", ask.Range);
        tally.Started();
        var started = Stopwatch.GetTimestamp();
        var state = AnswerState.None;
        try
        {
            using var response = await edge.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, patience.Token);
            state = StateOf(response.Headers);
            if (storeIsAway && response.StatusCode is HttpStatusCode.NotFound)
                return null;
            if ((int)response.StatusCode >= 500)
            {
                // What is asked while the store is away may fail; so may what a kill interrupts.
                if (edge.Killed)
                    tally.LostToKill();
                else if (!storeIsAway)
                    tally.Report(SoakFault.ServerError, $"{Name(target, ask)}: {(int)response.StatusCode}, Cache-Status {CacheStatus(response.Headers)}");
                return null;
            }

            if (Contradiction(response, target, ask) is { } contradiction)
            {
                tally.Report(SoakFault.WrongAnswer, $"{Name(target, ask)}: {contradiction}");
                return null;
            }

            if (!await JudgeBodyAsync(response, target, ask, oldest, state, started, patience.Token))
                return null;
            if (state == AnswerState.Hit)
                edge.NoteHit();
            return state;
        }
        catch (OperationCanceledException) when (ending.IsCancellationRequested)
        {
            return null;
        }
        catch (OperationCanceledException)
        {
            tally.Report(SoakFault.Hung, $"{Name(target, ask)}: nothing for {Patience.TotalSeconds} s");
            return null;
        }
        catch (Exception e) when (e is HttpRequestException or IOException)
        {
            if (edge.Killed)
                tally.LostToKill();
            else if (oldest != newest || target.Newest != newest)
                tally.CutAtReplacement();
            else if (!storeIsAway)
                tally.Report(SoakFault.Cut, $"{Name(target, ask)}, {state}: {e.InnerException?.Message ?? e.Message}");
            return null;
        }
    }

    private static AnswerState StateOf(HttpResponseHeaders headers)
    {
        var text = CacheStatus(headers);
        return text.Contains("; hit", StringComparison.Ordinal) ? AnswerState.Hit
            : text.Contains("fwd=partial", StringComparison.Ordinal) ? AnswerState.Partial
            : text.Contains("fwd=", StringComparison.Ordinal) ? AnswerState.Miss
            : AnswerState.None;
    }

    private static string CacheStatus(HttpResponseHeaders headers) => headers.TryGetValues("Cache-Status", out var values) ? string.Join(", ", values) : "";

    private static string? Contradiction(HttpResponseMessage response, SoakObject target, Ask ask)
    {
        if (response.StatusCode != ask.Status)
            return $"status {(int)response.StatusCode}, not {(int)ask.Status}";
        if (response.Content.Headers.ContentLength is var length && length != ask.End - ask.Start)
            return $"Content-Length {length}, not {ask.End - ask.Start}";
        var range = response.Content.Headers.TryGetValues("Content-Range", out var values) ? string.Join(", ", values) : null;
        var expected = ask.Status switch
        {
            HttpStatusCode.PartialContent => string.Create(CultureInfo.InvariantCulture, $"bytes {ask.Start}-{ask.End - 1}/{target.Length}"),
            HttpStatusCode.RequestedRangeNotSatisfiable => string.Create(CultureInfo.InvariantCulture, $"bytes */{target.Length}"),
            _ => null,
        };
        return range == expected ? null : $"Content-Range '{range}', not '{expected}'";
    }

    private async Task<bool> JudgeBodyAsync(
        HttpResponseMessage response, SoakObject target, Ask ask, int oldest, AnswerState state, long started, CancellationToken cancellationToken)
    {
        if (ask.IsHead || ask.Start == ask.End)
        {
            tally.FirstByte[state].Record(Stopwatch.GetElapsedTime(started));
            return true;
        }

        await using var body = await response.Content.ReadAsStreamAsync(cancellationToken);
        var position = ask.Start;
        var longest = TimeSpan.Zero;
        // Versions that every byte so far agrees with: of a response there is one, and it never changes within it.
        var (low, high) = (0, -1);
        while (true)
        {
            var asked = Stopwatch.GetTimestamp();
            var count = await body.ReadAsync(_buffer, cancellationToken);
            if (count == 0)
                break;
            if (position == ask.Start)
                tally.FirstByte[state].Record(Stopwatch.GetElapsedTime(started));
            else if (Stopwatch.GetElapsedTime(asked) is var wait && wait > longest)
                longest = wait;
            tally.Received(count);
            if (position + count > ask.End)
            {
                tally.Report(SoakFault.WrongAnswer, $"{Name(target, ask)}: more bytes than its Content-Length");
                return false;
            }

            if (position == ask.Start)
                (low, high) = (oldest, target.Newest);
            while (low <= high && target.Content(low).CountRight(position, _buffer.AsSpan(0, count)) < count)
                low++;
            while (high > low && target.Content(high).CountRight(position, _buffer.AsSpan(0, count)) < count)
                high--;
            if (low > high)
            {
                ReportWrong(response, target, ask, oldest, position, count);
                return false;
            }

            position += count;
            if (ask.LeaveAfter >= 0 && position - ask.Start >= ask.LeaveAfter && position < ask.End)
            {
                tally.ClientLeft();
                return false;
            }
        }

        if (position < ask.End)
        {
            tally.Report(SoakFault.WrongAnswer, $"{Name(target, ask)}: the body ended well after {position - ask.Start} of {ask.End - ask.Start} bytes");
            return false;
        }

        tally.Stall[state].Record(longest);
        // Fewer bytes could be another version's by chance.
        if (low == high && ask.End - ask.Start >= 16 && response.Headers.ETag is { } etag && !target.ETagFits(etag.Tag, low))
        {
            tally.Report(SoakFault.WrongAnswer, $"{Name(target, ask)}: ETag {etag.Tag} stood for another version before");
            return false;
        }

        return true;
    }

    private void ReportWrong(HttpResponseMessage response, SoakObject target, Ask ask, int oldest, long position, int count)
    {
        var bytes = _buffer.AsSpan(0, count);
        for (var version = 0; version <= target.Newest; version++)
        {
            if (target.Content(version).CountRight(position, bytes) < count)
                continue;
            var fault = version < oldest && position == ask.Start ? SoakFault.StaleVersion : SoakFault.WrongByte;
            tally.Report(fault, $"{Name(target, ask)}: version {version} at byte {position}, where {oldest} to {target.Newest} may be; Cache-Status {CacheStatus(response.Headers)}, ETag {response.Headers.ETag?.Tag}");
            return;
        }

        var right = target.Content(target.Newest).CountRight(position, bytes);
        tally.Report(SoakFault.WrongByte, $"{Name(target, ask)}: byte {position + right} is of no version; Cache-Status {CacheStatus(response.Headers)}, ETag {response.Headers.ETag?.Tag}");
    }

    private static string Name(SoakObject target, Ask ask) => $"{(ask.IsHead ? "HEAD" : "GET")} {target.Path} {ask.Range ?? "whole"}";
}
