namespace Delivery.Origin.Api;

/// <summary>Answer of <c>GET /v1/ladders</c>: the built-in ladder, then the others by name.</summary>
public sealed record LadderList(IReadOnlyList<LadderSummary> Ladders);

/// <param name="Name">Lower-case words and a version.</param>
/// <param name="BuiltIn">Comes with the program.</param>
/// <param name="Current">New masters of this origin are made with it.</param>
public sealed record LadderSummary(string Name, bool BuiltIn, bool Current);
