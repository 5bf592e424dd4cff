namespace Delivery.Cli.Soak;

/// <summary>When a kill comes.</summary>
internal enum KillKind
{
    /// <summary>At its moment, under load.</summary>
    Running,

    /// <summary>While the edge of the restart before it still starts.</summary>
    Starting,

    /// <summary>Just after the load has found the restarted edge.</summary>
    Resumed,
}

/// <param name="Kind">When.</param>
/// <param name="At">For <see cref="KillKind.Running"/>: from the run's start. Else from the restart's.</param>
internal readonly record struct Kill(KillKind Kind, TimeSpan At);

/// <summary>The seeded moments of a run's kills: spread over its time, and a quarter of them right behind the one before.</summary>
internal static class KillPlan
{
    // A restart takes a third of a second here, most of it the runtime's own start: a kill within this finds it anywhere.
    private const int StartingMilliseconds = 600;

    private const int ResumedMilliseconds = 400;

    public static IReadOnlyList<Kill> Make(int kills, TimeSpan duration, ulong seed)
    {
        var random = new Random((int)(seed * 31 + 7));
        var plan = new List<Kill>(kills);
        for (var i = 0; i < kills; i++)
        {
            var kind = i == 0 ? KillKind.Running : random.Next(8) switch { 0 => KillKind.Starting, 1 => KillKind.Resumed, _ => KillKind.Running };
            // The first eighth of the time fills the cache: a kill there would test little.
            var share = (i + random.NextDouble()) / kills;
            plan.Add(kind switch
            {
                KillKind.Starting => new(kind, TimeSpan.FromMilliseconds(random.Next(StartingMilliseconds))),
                KillKind.Resumed => new(kind, TimeSpan.FromMilliseconds(random.Next(ResumedMilliseconds))),
                _ => new(kind, duration * (0.125 + 0.85 * share)),
            });
        }

        return plan;
    }
}
