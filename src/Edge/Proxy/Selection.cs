using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Proxy;

/// <summary>
/// RFC 9111 §4.1: the request fields that a response varies by, and what they were. A request matches when it has the same, after normalising: lines are joined, and space around list elements
/// goes. Of the Accept- fields case and order go as well, as they mean nothing there (RFC 9110 §12.5).
/// </summary>
internal sealed record Selection(IReadOnlyList<string> Names, string Text)
{
    public static readonly Selection Any = new([], "");

    public static Selection Of(StringValues vary, IHeaderDictionary request)
    {
        var names = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var line in vary)
        {
            foreach (var name in FieldList.Elements(line))
                names.Add(name.ToString().ToLowerInvariant());
        }

        return names.Count == 0 ? Any : new([.. names], TextOf([.. names], request));
    }

    public bool Matches(IHeaderDictionary request) => Names.Count == 0 || TextOf(Names, request) == Text;

    /// <summary>The named fields of a request as one text. NUL and LF occur in no field.</summary>
    public static string TextOf(IReadOnlyList<string> names, IHeaderDictionary request) =>
        names.Count == 0 ? "" : string.Join('\n', names.Select(name => $"{name}\0{Normalise(name, request[name])}"));

    private static string Normalise(string name, StringValues field)
    {
        if (field.Count == 0)
            return "\0absent";
        var elements = new List<string>();
        foreach (var line in field)
        {
            foreach (var element in FieldList.Elements(line))
                elements.Add(element.ToString());
        }

        if (name is "accept-language" or "accept-encoding" or "accept-charset")
            elements = [.. elements.Select(e => e.ToLowerInvariant()).Order(StringComparer.Ordinal)];
        return string.Join(',', elements);
    }
}
