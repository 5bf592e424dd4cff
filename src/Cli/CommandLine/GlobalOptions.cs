using System.CommandLine;

namespace Delivery.Cli.CommandLine;

/// <summary>Options that every command understands.</summary>
internal sealed class GlobalOptions
{
    public Option<bool> Json { get; } = new("--json") { Description = "Print JSON lines instead of text.", Recursive = true };

    public Option<string> Data { get; } = new("--data")
    {
        Description = "The folder that `delivery up` keeps everything in; its up.json tells the other commands where to connect.",
        HelpName = "DIR",
        DefaultValueFactory = _ => System.Environment.GetEnvironmentVariable("DELIVERY_DATA") ?? "./data",
        Recursive = true,
    };

    public Option<string?> Origin { get; } = new("--origin") { Description = "The origin's base URL [env: DELIVERY_ORIGIN].", HelpName = "URL", Recursive = true };

    public Option<string?> ApiKey { get; } = new("--api-key")
    {
        Description = "The API key; prefer the variable, as other users of a machine can read a command line [env: DELIVERY_API_KEY].",
        HelpName = "KEY",
        Recursive = true,
    };

    public Option<string?> Keys { get; } = new("--keys") { Description = "The key ring file that signs and verifies URLs [env: DELIVERY_KEYS].", HelpName = "FILE", Recursive = true };
}
