namespace Delivery.Cli.CommandLine;

/// <summary>What the process ends with. Documented in README.md; scripts rely on it.</summary>
internal static class ExitCode
{
    public const int Ok = 0;

    /// <summary>The work was done and its answer is no: a track failed, a URL is not valid, bytes were wrong.</summary>
    public const int Failed = 1;

    /// <summary>The command line or a file that it names is wrong.</summary>
    public const int Usage = 2;

    /// <summary>This machine cannot do it: a port is taken, a program is missing, a folder cannot be written.</summary>
    public const int Environment = 3;

    /// <summary>The server could not be reached or answered with its own failure.</summary>
    public const int Unreachable = 4;

    /// <summary>The server refused: unknown or unauthorised key, or a request that it judges wrong.</summary>
    public const int Refused = 5;

    /// <summary>Interrupted by the user (128 + SIGINT).</summary>
    public const int Interrupted = 130;
}
