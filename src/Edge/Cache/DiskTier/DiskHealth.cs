using Delivery.Edge.Cache.Segments;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>The tier as a whole; the names are the metric's labels.</summary>
internal enum DiskTierState
{
    On,

    /// <summary>What is there is served; nothing is added.</summary>
    WritesOff,

    /// <summary>Every read is a miss. Writes may work, but nobody profits.</summary>
    Off,
}

/// <summary>Why a direction is off.</summary>
internal enum DiskTrouble
{
    Failed,
    Full,
    ReadOnly,

    /// <summary>It answers later than is any use.</summary>
    Slow,

    /// <summary>The folder could not be read at the start.</summary>
    FolderUnreadable,
}

/// <summary>Reads and writes fail apart: a full disk reads well.</summary>
internal sealed class DiskHealth(int failuresToTurnOff, ILogger log)
{
    public DiskDirection Reads { get; } = new("Reads from", failuresToTurnOff, log);

    public DiskDirection Writes { get; } = new("Writes to", failuresToTurnOff, log);

    public DiskTierState State => !Reads.IsOn ? DiskTierState.Off : Writes.IsOn ? DiskTierState.On : DiskTierState.WritesOff;
}

/// <summary>
/// <code>
/// on ── failures in a row, or a full or read-only disk ──▶ off ── a probe succeeds ──▶ on
/// </code>
/// One log line for each arrow, however many failures there are.
/// </summary>
internal sealed partial class DiskDirection(string name, int failuresToTurnOff, ILogger log)
{
    private int _failures;
    private int _off;

    public bool IsOn => Volatile.Read(ref _off) == 0;

    public DiskTrouble LastTrouble { get; private set; }

    public void Succeeded()
    {
        if (Volatile.Read(ref _failures) != 0)
            Volatile.Write(ref _failures, 0);
    }

    public void Failed(DiskTrouble trouble, IOException? exception = null)
    {
        // Full and read-only are states, not accidents: the next write would meet them again.
        if (Interlocked.Increment(ref _failures) >= failuresToTurnOff || trouble is DiskTrouble.Full or DiskTrouble.ReadOnly)
            TurnOff(trouble, exception);
    }

    public void TurnOff(DiskTrouble trouble, IOException? exception = null)
    {
        LastTrouble = trouble;
        if (Interlocked.Exchange(ref _off, 1) == 0)
            LogOff(log, name, trouble, exception);
    }

    public void TurnOn()
    {
        Volatile.Write(ref _failures, 0);
        if (Interlocked.Exchange(ref _off, 0) == 1)
            LogOn(log, name);
    }

    public static DiskTrouble TroubleOf(IOException exception) => DiskErrors.Of(exception) switch
    {
        DiskError.Full => DiskTrouble.Full,
        DiskError.ReadOnly => DiskTrouble.ReadOnly,
        _ => DiskTrouble.Failed,
    };

    [LoggerMessage(1050, LogLevel.Error, "{Direction} the disk tier are off: {Trouble}. The edge serves on without; the disk is tried again until it works")]
    private static partial void LogOff(ILogger logger, string direction, DiskTrouble trouble, Exception? exception);

    [LoggerMessage(1051, LogLevel.Information, "{Direction} the disk tier are on again")]
    private static partial void LogOn(ILogger logger, string direction);
}
