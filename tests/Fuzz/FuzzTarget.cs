namespace Delivery.Fuzz;

/// <summary>Something that takes bytes from anybody, and an oracle that says what must hold for whatever it answers.</summary>
public abstract class FuzzTarget
{
    public static IReadOnlyList<FuzzTarget> All { get; } = [new TokenVerifyTarget(), new RequestTargetTarget(), new KeyRingTarget()];

    /// <summary>Name on the command line, and folder of the corpus.</summary>
    public abstract string Name { get; }

    /// <summary>Words that random bytes would take long to hit on.</summary>
    public abstract IReadOnlyList<string> Dictionary { get; }

    /// <summary>Runs one input. Any exception is a finding.</summary>
    /// <returns>What was reached (a verdict, an outcome): new words make an input worth mutating further.</returns>
    public abstract string Run(ReadOnlySpan<byte> input);

    protected static void Require(bool condition, string broken)
    {
        if (!condition)
            throw new OracleException(broken);
    }
}

/// <summary>The code under test answered, but wrongly.</summary>
public sealed class OracleException(string message) : Exception(message);
