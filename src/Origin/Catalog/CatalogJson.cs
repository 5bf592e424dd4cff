using System.Text.Json.Serialization;
using Delivery.Origin.Api;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Catalog;

/// <summary>JSON of the manifests. A member that this version does not know is an error of the reader's caller to ignore, never to drop: see <see cref="CatalogStore"/>.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    Converters = [typeof(WireEnum<MasterState>), typeof(WireEnum<JobFailure>)])]
[JsonSerializable(typeof(ReleaseManifest))]
[JsonSerializable(typeof(TrackManifest))]
[JsonSerializable(typeof(FileManifest))]
internal sealed partial class CatalogJson : JsonSerializerContext;
