namespace Delivery.Origin.ApiKeys;

/// <summary>What a key may do (docs/api.md lists the calls of each role). On the wire and in configuration: the name in lower case.</summary>
public enum ApiRole
{
    /// <summary>Create and update releases, upload masters, see, retry and cancel jobs, see ladders.</summary>
    Ingest,

    /// <summary>Ask for playback grants, and nothing else.</summary>
    Playback,

    /// <summary>See releases and the farm, retry and cancel jobs, add ladders, order backfills.</summary>
    Operate,

    /// <summary>An edge node. No call of the origin needs it yet.</summary>
    Edge,
}
