using System.Runtime.InteropServices;

namespace Delivery.Cli.CommandLine;

/// <summary>
/// SIGINT and SIGTERM: the first asks, and servers drain, which is bounded by their own options alone; the second ends the process at once, with the shell's exit code for
/// the signal. System.CommandLine's own handling would cut a long drain off and knows no second signal.
/// </summary>
internal sealed class StopSignals : IDisposable
{
    private readonly CancellationTokenSource _asked = new();
    private readonly PosixSignalRegistration[] _registrations;

    public StopSignals() =>
        _registrations = [PosixSignalRegistration.Create(PosixSignal.SIGINT, Receive), PosixSignalRegistration.Create(PosixSignal.SIGTERM, Receive)];

    /// <summary>Cancelled at the first signal.</summary>
    public CancellationToken Asked => _asked.Token;

    public void Dispose()
    {
        foreach (var registration in _registrations)
            registration.Dispose();
        _asked.Dispose();
    }

    private void Receive(PosixSignalContext signal)
    {
        // POSIX numbers: SIGINT 2, SIGTERM 15. The runtime's own enum counts otherwise.
        if (_asked.IsCancellationRequested)
            Environment.Exit(128 + (signal.Signal == PosixSignal.SIGINT ? 2 : 15));
        signal.Cancel = true;
        _asked.Cancel();
    }
}
