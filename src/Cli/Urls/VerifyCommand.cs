using System.CommandLine;
using System.Net;
using Delivery.Cli.CommandLine;
using Delivery.TokenAuth;

namespace Delivery.Cli.Urls;

internal sealed record VerifiedLine(string Verdict, string Reason, string? KeyId, DateTimeOffset? ExpiresAt, IReadOnlyDictionary<string, string> Claims, bool ClaimsAreAuthentic);

internal sealed record VectorsLine(int Passed, int Failed);

/// <summary><c>delivery verify</c>: judges a URL as an edge does and says why; or runs a file of test vectors.</summary>
internal static class VerifyCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var url = new Argument<string?>("URL") { Description = "The URL, whole or from its path on.", Arity = ArgumentArity.ZeroOrOne };
        var vectors = new Option<string?>("--vectors") { Description = "Run a file of test vectors instead.", HelpName = "FILE" };
        var client = new Option<string?>("--client") { Description = "The listener's address, for URLs bound to one.", HelpName = "ADDR" };
        var now = new Option<long?>("--now") { Description = "Judge by this time instead of the clock.", HelpName = "UNIX" };
        var command = new Command("verify", "Say whether a signed URL is valid, and why not. Exit code 0 only when it is.") { url, vectors, client, now };
        command.Run(options, output, error, (parsed, context, _) =>
        {
            var file = parsed.GetValue(vectors);
            var text = parsed.GetValue(url);
            if ((file is null) == (text is null))
                throw new CliException(ExitCode.Usage, "give either a URL or --vectors FILE");
            if (file is not null)
                return Task.FromResult(RunVectors(file, context));
            IPAddress? address = null;
            if (parsed.GetValue(client) is { } named && !IPAddress.TryParse(named, out address))
                throw new CliException(ExitCode.Usage, $"--client '{named}' is not an IP address");
            var time = parsed.GetValue(now) ?? DateTimeOffset.UtcNow.ToUnixTimeSeconds();
            return Task.FromResult(Explain(TokenExplanation.Of(new Connection(parsed, options).ReadKeyRing(), text!, address, time), context));
        });
        return command;
    }

    private static int Explain(TokenExplanation explanation, CommandContext context)
    {
        if (context.Json)
        {
            var claims = explanation.Claims.ToDictionary(claim => claim.Name, claim => claim.Value);
            context.WriteJson(
                new VerifiedLine(explanation.VerdictName, explanation.Reason, explanation.KeyId, explanation.Expires, claims, explanation.ClaimsAreAuthentic),
                CliJson.Default.VerifiedLine);
        }
        else
        {
            context.Output.Write(explanation.ToString());
        }

        return explanation.Verdict == TokenVerdict.Valid ? ExitCode.Ok : ExitCode.Failed;
    }

    private static int RunVectors(string path, CommandContext context)
    {
        IReadOnlyList<VectorOutcome> outcomes;
        try
        {
            outcomes = VectorFile.Parse(File.ReadAllBytes(path)).Run();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CliException(ExitCode.Environment, $"{path} cannot be read: {e.Message}", e);
        }
        catch (Exception e) when (e is FormatException or KeyRingException)
        {
            throw new CliException(ExitCode.Usage, $"{path}: {e.Message}", e);
        }

        foreach (var outcome in outcomes.Where(outcome => !outcome.Passed))
            context.Warn($"'{outcome.Vector.Name}' is {outcome.Actual}, not {outcome.Vector.Verdict}");
        var line = new VectorsLine(outcomes.Count(outcome => outcome.Passed), outcomes.Count(outcome => !outcome.Passed));
        if (context.Json)
            context.WriteJson(line, CliJson.Default.VectorsLine);
        else
            context.Output.WriteLine($"{line.Passed} vectors passed, {line.Failed} failed");
        return line.Failed == 0 ? ExitCode.Ok : ExitCode.Failed;
    }
}
