namespace Delivery.Cli.Soak;

/// <summary>What a run is told.</summary>
internal sealed record SoakSettings
{
    /// <summary>How long the load runs; longer when the kills are not done by then.</summary>
    public required TimeSpan Duration { get; init; }

    public required int Kills { get; init; }

    /// <summary>The same seed gives the same objects, choices and moments; what the threads make of them differs.</summary>
    public required ulong Seed { get; init; }

    /// <summary>The edge's <c>HotTierBytes</c>.</summary>
    public required long RamBytes { get; init; }

    /// <summary>The edge's <c>DiskTierBytes</c>.</summary>
    public required long DiskBytes { get; init; }

    /// <summary>Requests at once.</summary>
    public required int Connections { get; init; }

    /// <summary>Where the run makes its own folder.</summary>
    public required string Folder { get; init; }

    /// <summary>False: an edge without a disk tier; restarts are cold then.</summary>
    public bool DiskTier { get; init; } = true;

    public bool Purges { get; init; } = true;

    /// <summary>The edge's <c>FillBufferBytes</c>: half of its default, because a handful of connections needs no more.</summary>
    public long FillBufferBytes { get; init; } = 32L << 20;

    /// <summary>What the process may hold beside its budgets: the runtime, its code, tables, connections.</summary>
    public const long RssAllowanceBytes = 150L << 20;

    /// <summary>What the disk tier's directory takes: 0.15 % of the disk budget, on top of the RAM budget (docs/configuration.md).</summary>
    public long DirectoryBytes => DiskTier ? DiskBytes / 2000 * 3 : 0;

    /// <summary>Bound of the edge's resident memory.</summary>
    public long RssBoundBytes => RamBytes + FillBufferBytes + DirectoryBytes + RssAllowanceBytes;

    /// <summary>Bound of the cache folder: 2 % above the budget.</summary>
    public long DiskBoundBytes => DiskBytes + DiskBytes / 50;
}
