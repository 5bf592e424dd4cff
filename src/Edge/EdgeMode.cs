using System.Text.Json.Serialization;

namespace Delivery.Edge;

/// <summary>What an edge is for.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<EdgeMode>))]
public enum EdgeMode
{
    /// <summary>Signed byte ranges of <c>audio/</c>; GET, HEAD, OPTIONS; no header of the client goes upstream.</summary>
    Audio,

    /// <summary>A reverse-proxy cache by RFC 9111 in front of one HTTP origin: every method, no signatures.</summary>
    Http,
}
