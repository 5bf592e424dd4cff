namespace Delivery.Edge.Tests;

/// <summary>What an action allocates on its thread.</summary>
internal static class Allocation
{
    /// <summary>
    /// The least of three rounds: now and then something is made once and kept (a session, when two threads want the same pool slot; a table in the runtime), and that is no
    /// cost of the action.
    /// </summary>
    public static long Of(Action action)
    {
        var least = long.MaxValue;
        for (var round = 0; round < 3; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            action();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        return least;
    }
}
