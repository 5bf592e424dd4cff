using Delivery.Origin.Backfills;

namespace Delivery.Origin.Api;

/// <summary>Answer of <c>GET /v1/ladders</c>: the built-in ladder, then the others by name.</summary>
public sealed record LadderList(IReadOnlyList<LadderSummary> Ladders);

/// <param name="Name">Lower-case words and a version.</param>
/// <param name="BuiltIn">Comes with the program.</param>
/// <param name="Current">New masters of this origin are made with it.</param>
public sealed record LadderSummary(string Name, bool BuiltIn, bool Current);

/// <summary>Answer of <c>GET /v1/backfills</c>, in the order of their ladders' names.</summary>
public sealed record BackfillList(IReadOnlyList<BackfillStatus> Backfills);

/// <summary>The catalogue's way to a ladder. Counts are of tracks of which something is published.</summary>
public sealed record BackfillStatus
{
    /// <summary>The ladder's name: there is one backfill per ladder.</summary>
    public required string BackfillId { get; init; }

    public required string Ladder { get; init; }

    public required BackfillState State { get; init; }

    public required DateTimeOffset StartedAt { get; init; }

    public DateTimeOffset? EndedAt { get; init; }

    public required int Total { get; init; }

    /// <summary>Published with this ladder, whoever made them so.</summary>
    public required int Done { get; init; }

    public required int Failed { get; init; }

    /// <summary>Withdrawn, or with a newer master that is queued or failed.</summary>
    public required int Skipped { get; init; }

    public required int Outstanding { get; init; }

    /// <summary>At the pace so far; null before there is one, and when it does not run.</summary>
    public double? SecondsLeft { get; init; }

    /// <summary>The first 100 by track.</summary>
    public required IReadOnlyList<BackfillFailureStatus> Failures { get; init; }
}

/// <summary>A track that plays on as it was.</summary>
public sealed record BackfillFailureStatus(string TrackId, TrackFailure Failure);
