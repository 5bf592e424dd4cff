using System.Text;
using Delivery.TokenAuth;

namespace Delivery.Fuzz;

/// <summary>Input: a request target. What is accepted must be as sent, and hold nothing that two readers could read differently.</summary>
public sealed class RequestTargetTarget : FuzzTarget
{
    public override string Name => "request-target";

    public override IReadOnlyList<string> Dictionary { get; } =
    [
        "/", "//", "/.", "/..", "/./", "/../", "%2e", "%2E", "%2f", "%5c", "%3b", "%3f", "%23", "%25", "%00", "%7f", "%20", "%c3%a9", "%c0%af", "%c2%85", "%ed%a0%80", "%zz", "%",
        "\\", ";", "?", "#", " ", "\0", "\u007f", "\u00e9", "http://h/", "*", "audio/x.ogg", "...", ".a",
    ];

    public override string Run(ReadOnlySpan<byte> input)
    {
        var target = Encoding.Latin1.GetString(input);
        var accepted = RequestTarget.TrySplit(target, out var path, out var query);
        var mark = target.IndexOf('?', StringComparison.Ordinal);
        var sentPath = mark < 0 ? target : target[..mark];
        var sentQuery = mark < 0 ? "" : target[(mark + 1)..];
        var expected = target.Length <= 8192 && ReferenceScheme.IsCanonicalPath(sentPath) && !sentQuery.Any(c => char.IsControl(c) || c == '#');
        Require(accepted == expected, $"{(accepted ? "accepted" : "refused")}, the reference says otherwise");
        if (!accepted)
        {
            Require(path.IsEmpty && query.IsEmpty, "refused, with a path");
            return "refused";
        }

        Require(path.SequenceEqual(sentPath) && query.SequenceEqual(sentQuery), "not as sent");
        // Once more and by other means: what any reader makes of the path by decoding it any number of times.
        var decoded = path.ToString();
        for (var i = 0; i < 3; i++)
        {
            Require(!decoded.Any(char.IsControl) && decoded.AsSpan().IndexOfAny("\\;?#") < 0, "a separator or control behind escapes");
            Require(decoded.Count(c => c == '/') == path.Count('/') && decoded.Count(c => c == '.') == path.Count('.'), "a slash or dot behind escapes");
            Require(!decoded.Split('/').Any(segment => segment is "." or ".."), "a dot segment");
            decoded = Uri.UnescapeDataString(decoded);
        }

        return path.Contains('%') ? "accepted with escapes" : "accepted";
    }
}
