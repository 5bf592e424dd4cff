using System.Buffers;
using System.Collections.Frozen;
using System.Net.Http.Headers;
using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Proxy;

/// <summary>Which header fields go through, in both directions. Values go through as they are, line by line.</summary>
internal static class ForwardedFields
{
    // RFC 9110 §7.6.1, RFC 9111 §3.1 (the Proxy- ones are for the next hop alone), RFC 9113 §8.2.2.
    private static readonly FrozenSet<string> HopByHop = new[]
    {
        "Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "HTTP2-Settings", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
    }.ToFrozenSet(StringComparer.OrdinalIgnoreCase);

    // What a Connection field may not take away: the request's target would change.
    private static readonly FrozenSet<string> Kept = new[] { "Host", "Content-Length" }.ToFrozenSet(StringComparer.OrdinalIgnoreCase);

    private static readonly SearchValues<char> Controls = SearchValues.Create([.. Enumerable.Range(0, 32).Where(c => c != '\t').Select(c => (char)c), '\x7f']);

    /// <summary>
    /// Takes away what ends at this hop. Before anything else looks at the fields: a field that upstream does not see must not choose a stored response either.
    /// </summary>
    public static void StripHopByHop(IHeaderDictionary fields)
    {
        foreach (var line in fields.Connection)
        {
            foreach (var option in FieldList.Elements(line))
            {
                var name = option.ToString();
                if (!Kept.Contains(name))
                    fields.Remove(name);
            }
        }

        foreach (var name in HopByHop)
            fields.Remove(name);
    }

    /// <summary>A response's fields without those that end at this hop.</summary>
    public static IHeaderDictionary Of(HttpResponseMessage message)
    {
        var fields = new HeaderDictionary();
        Copy(message.Headers.NonValidated, fields);
        Copy(message.Content.Headers.NonValidated, fields);
        StripHopByHop(fields);
        return fields;
    }

    public static IHeaderDictionary CopyOf(IHeaderDictionary fields) => new HeaderDictionary(fields.ToDictionary(StringComparer.OrdinalIgnoreCase));

    /// <summary>Every value of a field, each as one line.</summary>
    public static string[] Lines(StringValues values) => [.. values.Where(v => v is not null)!];

    private static void Copy(HttpHeadersNonValidated from, HeaderDictionary to)
    {
        foreach (var (name, values) in from)
        {
            // RFC 9110 §5.5: what holds a control character is not sent on; it could only be meant to break whoever reads it.
            var lines = values.Where(v => !v.AsSpan().ContainsAny(Controls)).ToArray();
            if (lines.Length > 0)
                to[name] = StringValues.Concat(to[name], lines);
        }
    }
}
