using System.CommandLine;
using Delivery.Cli.CommandLine;
using Delivery.Cli.OriginApi;
using Delivery.TokenAuth;

namespace Delivery.Cli.Urls;

/// <param name="Url">Path and query, behind the local edge's base when one is known.</param>
/// <param name="ExpiresAt">Last valid second.</param>
internal sealed record SignedLine(string Url, DateTimeOffset ExpiresAt);

/// <summary><c>delivery sign</c>: signs a path, or a track's rendition, with a local key ring.</summary>
internal static class SignCommand
{
    public static Command Create(GlobalOptions options, TextWriter output, TextWriter error)
    {
        var path = new Argument<string?>("PATH") { Description = "The public path, for example /audio/<fileId>.ogg.", Arity = ArgumentArity.ZeroOrOne };
        var track = new Option<string?>("--track") { Description = "Sign a rendition of this track instead (asks the origin).", HelpName = "ID" };
        var quality = new Option<string?>("--quality") { Description = "With --track: low, normal, high, veryhigh, lossless, hires or preview.", HelpName = "Q" };
        var codec = new Option<string?>("--codec") { Description = "With --track: vorbis, aac or flac; default: the first that the track has.", HelpName = "C" };
        var expires = new Option<TimeSpan>("--expires")
        {
            Description = "How long it is valid: 90s, 15m, 1h, 7d.",
            HelpName = "DURATION",
            CustomParser = Duration.Parse,
            DefaultValueFactory = _ => TimeSpan.FromHours(1),
        };
        var kid = new Option<string?>("--kid") { Description = "Sign with this key; default: the ring's signing key.", HelpName = "K" };
        var ip = new Option<string?>("--ip") { Description = "Valid only for this address or CIDR network.", HelpName = "N" };
        var sid = new Option<string?>("--sid") { Description = "Playback session.", HelpName = "S" };
        var prefix = new Option<string?>("--prefix") { Description = "Valid for every path that starts so; sign any one of them.", HelpName = "P" };
        var command = new Command("sign", "Sign a URL.") { path, track, quality, codec, expires, kid, ip, sid, prefix };
        command.Run(options, output, error, async (parsed, context, cancellationToken) =>
        {
            var connection = new Connection(parsed, options);
            var trackId = parsed.GetValue(track);
            var target = parsed.GetValue(path);
            if ((target is null) == (trackId is null))
                throw new CliException(ExitCode.Usage, "give either a PATH or --track ID");
            if (trackId is not null)
            {
                var wanted = parsed.GetValue(quality) ?? throw new CliException(ExitCode.Usage, "--track needs --quality");
                using var origin = new OriginClient(connection.Origin, connection.ApiKey);
                target = await origin.FindRenditionPathAsync(trackId, wanted, parsed.GetValue(codec), cancellationToken);
            }

            var expiresAt = DateTimeOffset.FromUnixTimeSeconds((DateTimeOffset.UtcNow + parsed.GetValue(expires)).ToUnixTimeSeconds());
            string signed;
            try
            {
                signed = NativeScheme.Instance.Sign(connection.ReadKeyRing(), target!, new UrlGrant
                {
                    Expires = expiresAt,
                    KeyId = parsed.GetValue(kid),
                    Address = parsed.GetValue(ip),
                    SessionId = parsed.GetValue(sid),
                    TrackId = trackId,
                    Prefix = parsed.GetValue(prefix),
                });
            }
            catch (ArgumentException e)
            {
                throw new CliException(ExitCode.Usage, e.Message, e);
            }

            var url = connection.Edge + signed;
            if (context.Json)
                context.WriteJson(new SignedLine(url, expiresAt), CliJson.Default.SignedLine);
            else
                context.Output.WriteLine(url);
            return ExitCode.Ok;
        });
        return command;
    }
}
