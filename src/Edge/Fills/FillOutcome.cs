namespace Delivery.Edge.Fills;

/// <summary>How a fill (or the reading of an object's metadata) ended. The name is also the metric label and the log word.</summary>
internal enum FillOutcome
{
    Running,

    /// <summary>Every byte of the run arrived and the body ended where it should.</summary>
    Completed,

    /// <summary>Upstream has no such object.</summary>
    Absent,

    /// <summary>The run starts at or past the object's end: the request did not know its length.</summary>
    PastEnd,

    /// <summary>Upstream cannot be reached or failed.</summary>
    Unavailable,

    /// <summary>Upstream was too slow, to its first byte or to its last.</summary>
    TimedOut,

    /// <summary>Upstream refuses this edge: credentials, permissions, a missing bucket.</summary>
    Denied,

    /// <summary>Upstream gave fewer bytes than it promised.</summary>
    Truncated,

    /// <summary>Upstream gave more bytes than it promised, or another range.</summary>
    Contradictory,

    /// <summary>Upstream has another version than the one that the edge knew.</summary>
    Changed,

    /// <summary>Upstream does not allow its answer to be kept, or gives nothing to tell its versions apart by.</summary>
    Uncacheable,

    /// <summary>Upstream is an edge that has not yet applied a purge that this one has.</summary>
    Lagging,

    /// <summary>No buffer came free in time.</summary>
    NoBuffers,

    /// <summary>The edge is stopping.</summary>
    Stopped,
}
