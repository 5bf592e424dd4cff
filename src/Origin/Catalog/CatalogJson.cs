using System.Text.Json.Serialization;
using Delivery.Origin.Api;
using Delivery.Origin.Backfills;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Catalog;

/// <summary>JSON of the manifests: camelCase, enums as camelCase words, nulls left out.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(WireEnum<MasterState>), typeof(WireEnum<JobFailure>), typeof(WireEnum<JobUrgency>), typeof(WireEnum<BackfillState>)])]
[JsonSerializable(typeof(ReleaseManifest))]
[JsonSerializable(typeof(TrackManifest))]
[JsonSerializable(typeof(FileManifest))]
[JsonSerializable(typeof(BackfillManifest))]
internal sealed partial class CatalogJson : JsonSerializerContext;
