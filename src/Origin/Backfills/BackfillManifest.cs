using Delivery.Origin.Catalog;

namespace Delivery.Origin.Backfills;

// A backfill's life. How far it is stands in the tracks' manifests alone: done is what is published with its ladder.
//
//   (none) ──POST──▶ Running ──nothing outstanding──▶ Done
//                     ▲   │                            │
//                     │   └──DELETE, a later one──▶ Cancelled
//                     └───────────────POST─────────────┘   failed tracks are tried again

public enum BackfillState
{
    Running,
    Done,
    Cancelled,
}

/// <summary><c>catalog/backfills/{ladder}.json</c>: an operator's order to make the catalogue with a ladder. Format: docs/formats/catalog.md.</summary>
internal sealed record BackfillManifest : Manifest
{
    public required string Ladder { get; init; }

    public required BackfillState State { get; init; }

    /// <summary>When it was last ordered; failures before that do not count.</summary>
    public required DateTimeOffset StartedAt { get; init; }

    public DateTimeOffset? EndedAt { get; init; }

    /// <summary>Which origin hands out its jobs, and until when nobody else does.</summary>
    public BackfillRunner? Runner { get; init; }
}

/// <param name="Id">Of one life of an origin's process.</param>
/// <param name="Until">Renewed well before.</param>
internal sealed record BackfillRunner(string Id, DateTimeOffset Until);
