namespace Delivery.ObjectStore;

/// <summary>Why a store refused or failed. The name is also the metric label and the log word.</summary>
public enum StoreError
{
    /// <summary>The object is not as the precondition demands.</summary>
    PreconditionFailed,

    /// <summary>The range starts at or past the object's end.</summary>
    RangeNotSatisfiable,

    /// <summary>The content's digest is not the one promised.</summary>
    DigestMismatch,

    /// <summary>The content's length is not the one promised.</summary>
    LengthMismatch,

    /// <summary>The stream to be written failed before its end.</summary>
    ContentFailed,

    /// <summary>This driver cannot hold this key: a name that it keeps for itself, or a file where a folder must be (docs/formats/file-store.md).</summary>
    KeyRefused,

    /// <summary>No space left, or a quota is reached.</summary>
    Full,

    /// <summary>Credentials or permissions do not allow it.</summary>
    Denied,

    /// <summary>The store itself is wrongly named: missing bucket or folder.</summary>
    Misconfigured,

    /// <summary>This machine's clock differs so much from the store's that the store refuses what it signs.</summary>
    ClockSkewed,

    /// <summary>The store gave an object that contradicts its own metadata.</summary>
    Corrupt,

    /// <summary>Time-out, connection or I/O failure.</summary>
    Unavailable,
}

/// <summary>Whose fault a <see cref="StoreError"/> is.</summary>
public enum StoreFault
{
    /// <summary>The caller's: the same call fails again.</summary>
    Caller,

    /// <summary>The operator's: configuration, credentials or space.</summary>
    Operator,

    /// <summary>The store's or the network's.</summary>
    Store,
}

/// <summary>A broken promise of an object store: typed, saying whose fault it is and whether a retry can help.</summary>
public sealed class StoreException(StoreError error, string message, Exception? inner = null) : Exception(message, inner)
{
    public StoreError Error { get; } = error;

    public StoreFault Fault => Error switch
    {
        StoreError.PreconditionFailed or StoreError.RangeNotSatisfiable or StoreError.DigestMismatch or StoreError.LengthMismatch
            or StoreError.ContentFailed or StoreError.KeyRefused => StoreFault.Caller,
        StoreError.Full or StoreError.Denied or StoreError.Misconfigured or StoreError.ClockSkewed => StoreFault.Operator,
        _ => StoreFault.Store,
    };

    /// <summary>Whether the same call may succeed later without anybody changing anything.</summary>
    public bool CanRetry => Error == StoreError.Unavailable;
}
