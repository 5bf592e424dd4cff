namespace Delivery.Origin.Api;

/// <summary>RFC 9457. Types are relative references, listed in docs/api.md; clients compare them as they stand.</summary>
public sealed record ProblemDocument
{
    public required string Type { get; init; }

    public required string Title { get; init; }

    public required int Status { get; init; }

    public required string Detail { get; init; }

    /// <summary>Every fault of the request, of <c>/problems/validation</c>.</summary>
    public IReadOnlyList<RequestError>? Errors { get; init; }

    /// <summary>Of <c>/problems/playback-refused</c>: why.</summary>
    public Playback.PlaybackRefusal? Reason { get; init; }
}

/// <summary>One fault. <paramref name="Pointer"/>: RFC 6901, into the body; or <c>?name</c> for a query parameter, or a header's name.</summary>
[System.Diagnostics.CodeAnalysis.SuppressMessage("Naming", "CA1720", Justification = "RFC 9457 §3 names the member so.")]
public sealed record RequestError(string Pointer, string Detail);
