using Delivery.Edge.Cache;
using Delivery.Edge.Fills;
using Delivery.Edge.Limits;
using Delivery.Edge.Metering;
using Delivery.Edge.Objects;
using Delivery.Edge.Peers;
using Delivery.TokenAuth;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Requests;

/// <summary>The parts of the node that a request meets on its way.</summary>
/// <param name="Keys">Null in http mode, where nothing is signed.</param>
internal sealed record EdgeParts(
    EdgeOptions Options, KeyRingFile? Keys, ITokenScheme Scheme, ObjectTable Objects, ChunkCache Cache, ObjectRecall Recall, FillTable Fills, EdgeMeter Meter,
    ResponseFields Fields, EdgeLimits Limits, TimeProvider Time, ILogger Log)
{
    /// <summary>Set where other edges ask; null where listeners do.</summary>
    public PeerDoor? Peer { get; init; }
}
