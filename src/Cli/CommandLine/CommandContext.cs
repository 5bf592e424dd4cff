using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Spectre.Console;

namespace Delivery.Cli.CommandLine;

/// <summary>What every command is given: where to write, and whether a person or a program reads it.</summary>
internal sealed class CommandContext(TextWriter output, TextWriter error, bool json)
{
    /// <summary>Results. With <c>--json</c>, JSON lines and nothing else.</summary>
    public TextWriter Output { get; } = output;

    /// <summary>Progress, warnings and errors, for people.</summary>
    public TextWriter Error { get; } = error;

    public bool Json { get; } = json;

    /// <summary>Tables.</summary>
    public IAnsiConsole Console { get; } = CreateConsole(output, output == System.Console.Out && !System.Console.IsOutputRedirected);

    /// <summary>Progress bars: on standard error, so that standard output stays a result that can be piped.</summary>
    public IAnsiConsole Progress { get; } = CreateConsole(error, error == System.Console.Error && !System.Console.IsErrorRedirected);

    public void WriteJson<T>(T value, JsonTypeInfo<T> type)
    {
        Output.WriteLine(JsonSerializer.Serialize(value, type));
        Output.Flush();
    }

    /// <summary>Colours and moving bars on a terminal only; a file or a pipe gets plain lines.</summary>
    private static IAnsiConsole CreateConsole(TextWriter writer, bool terminal)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = terminal ? AnsiSupport.Detect : AnsiSupport.No,
            Interactive = terminal ? InteractionSupport.Detect : InteractionSupport.No,
        });
        if (!terminal)
            console.Profile.Width = 200; // Rows are for grep: never wrapped to a width that nobody sees.
        return console;
    }

    public void Warn(string message) => Error.WriteLine($"delivery: {message}");

    /// <summary>As <see cref="Warn"/>, while progress bars may be moving: they make room for it.</summary>
    public void Note(string message)
    {
        if (Progress.Profile.Capabilities.Interactive)
            Progress.WriteLine($"delivery: {message}");
        else
            Warn(message);
    }
}

internal static class CommandActions
{
    /// <summary>Sets a command's action; expected failures become one line on standard error and an exit code.</summary>
    public static void Run(this Command command, GlobalOptions options, TextWriter output, TextWriter error, Func<ParseResult, CommandContext, CancellationToken, Task<int>> action) =>
        command.SetAction(async (parsed, cancellationToken) =>
        {
            var context = new CommandContext(output, error, parsed.GetValue(options.Json));
            try
            {
                return await action(parsed, context, cancellationToken);
            }
            catch (CliException e)
            {
                context.Warn(e.Message);
                return e.ExitCode;
            }
            catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
            {
                return ExitCode.Interrupted;
            }
        });
}
