using Delivery.Cli.CommandLine;
using Spectre.Console;

namespace Delivery.Cli.Stores;

/// <summary>Says how a long run goes while it goes: a line that moves on a terminal, lines of JSON for a program, a line now and then for a log. Its disposal ends that.</summary>
internal sealed class LiveStatus : IAsyncDisposable
{
    private static readonly TimeSpan OnATerminal = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan ForAProgram = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan InALog = TimeSpan.FromSeconds(15);

    private readonly CancellationTokenSource _stop = new();
    private readonly Task _running;

    /// <param name="context">Where it is said.</param>
    /// <param name="text">For a person.</param>
    /// <param name="json">Writes a line for a program.</param>
    public LiveStatus(CommandContext context, Func<string> text, Action json) => _running = context switch
    {
        { Json: true } => EveryAsync(ForAProgram, json),
        { Progress.Profile.Capabilities.Interactive: true } => context.Progress.Status().StartAsync(
            Markup.Escape(text()), status => EveryAsync(OnATerminal, () => status.Status(Markup.Escape(text())))),
        _ => EveryAsync(InALog, () => context.Error.WriteLine(text())),
    };

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _running;
        _stop.Dispose();
    }

    private async Task EveryAsync(TimeSpan interval, Action say)
    {
        using var timer = new PeriodicTimer(interval);
        try
        {
            while (await timer.WaitForNextTickAsync(_stop.Token))
                say();
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The run has ended, and says how.
        }
    }
}
