namespace Delivery.Origin.Ingest;

/// <summary>The body of <c>PUT /v1/releases/{releaseId}</c> (docs/api.md). Of what is optional, null and absent mean the same.</summary>
public sealed record ReleaseDocument
{
    /// <summary>1 to 500 characters.</summary>
    public required string Title { get; init; }

    /// <summary>In the order of credit; at most 100, each 1 to 500 characters.</summary>
    public IReadOnlyList<string> Artists { get; init; } = [];

    public string? Label { get; init; }

    /// <summary>GTIN-12 or GTIN-13 (UPC, EAN) with a right check digit.</summary>
    public string? Upc { get; init; }

    /// <summary>1 to 1,000, kept in the order of their numbers.</summary>
    public required IReadOnlyList<ReleaseTrack> Tracks { get; init; }

    /// <summary>Null: everywhere.</summary>
    public Territories? Territories { get; init; }

    /// <summary><c>free</c>, <c>premium</c>; null: both.</summary>
    public IReadOnlyList<string>? Tiers { get; init; }

    /// <summary>When the public may hear it, UTC; null: at once.</summary>
    public DateTimeOffset? AvailableFrom { get; init; }
}

/// <summary>A track as its release names it.</summary>
public sealed record ReleaseTrack
{
    /// <summary>1 to 64 of <c>A-Z a-z 0-9 . _ -</c>, not starting with a dot. Belongs to this release for good.</summary>
    public required string Id { get; init; }

    /// <summary>ISO 3901, 12 characters without hyphens.</summary>
    public string? Isrc { get; init; }

    /// <summary>1 to 500 characters.</summary>
    public required string Title { get; init; }

    /// <summary>1 to 9,999, unique within the release.</summary>
    public required int Number { get; init; }

    /// <summary>Null: the release's artists.</summary>
    public IReadOnlyList<string>? Artists { get; init; }
}

/// <summary>Where a release may be heard: exactly one of the two lists, of ISO 3166-1 alpha-2 codes.</summary>
public sealed record Territories
{
    public IReadOnlyList<string>? Allow { get; init; }

    public IReadOnlyList<string>? Deny { get; init; }
}
