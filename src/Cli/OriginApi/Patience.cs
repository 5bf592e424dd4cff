using System.Globalization;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.OriginApi;

/// <summary>A wait for an origin that is away, as <c>--json</c> tells it.</summary>
internal sealed record WaitLine(string Waiting, double RetryInSeconds, double GivesUpInSeconds);

/// <summary>
/// Repeats a call of an origin that is away until it is back, for a bounded time from the call's first failure: after what the origin asks for, else after 0.5 s, doubling to 5 s. Says each time
/// why and for how long it waits.
/// </summary>
/// <param name="context">Where it is said.</param>
/// <param name="bound">How long one call may keep failing; zero: it is not repeated.</param>
/// <param name="time">What the bound and the waits go by.</param>
internal sealed class Patience(CommandContext context, TimeSpan bound, TimeProvider time)
{
    private static readonly TimeSpan First = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(5);

    /// <param name="call">Does what is left, and is asked again when it throws <see cref="OriginAwayException"/>; told how often it has failed.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <exception cref="OriginAwayException">The origin stayed away.</exception>
    public async Task<T> AskAsync<T>(Func<int, Task<T>> call, CancellationToken cancellationToken)
    {
        var started = 0L;
        var next = First;
        for (var failures = 0; ; failures++)
        {
            try
            {
                return await call(failures);
            }
            catch (OriginAwayException e)
            {
                if (failures == 0)
                    started = time.GetTimestamp();
                var left = bound - time.GetElapsedTime(started);
                var wait = e.RetryAfter ?? next;
                next = next * 2 < Longest ? next * 2 : Longest;
                // A wait that ends after the bound would end in giving up.
                if (wait > left)
                    throw;
                Say(e, wait, left);
                await Task.Delay(wait, time, cancellationToken);
            }
        }
    }

    private void Say(OriginAwayException failure, TimeSpan wait, TimeSpan left)
    {
        if (context.Json)
            context.WriteJson(new(failure.Message, wait.TotalSeconds, Math.Round(left.TotalSeconds, 1)), CliJson.Default.WaitLine);
        else
            context.Note(string.Create(CultureInfo.InvariantCulture, $"{failure.Message}; trying again in {wait.TotalSeconds:0.#} s, for up to {left.TotalSeconds:0} s"));
    }
}
