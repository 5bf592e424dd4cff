using System.Text.Json;
using System.Text.Json.Serialization;
using Delivery.Origin.ApiKeys;
using Delivery.Origin.Backfills;
using Delivery.Origin.Ingest;
using Delivery.Origin.Playback;
using Delivery.Transcoder.Jobs;

namespace Delivery.Origin.Api;

/// <summary>JSON of the API: camelCase, enums as camelCase words, nulls left out. A client in .NET reads and writes with it too.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(WireEnum<TrackState>), typeof(WireEnum<JobPhase>), typeof(WireEnum<JobFailure>), typeof(WireEnum<BackfillState>), typeof(WireEnum<PlaybackRefusal>), typeof(WireEnum<ApiRole>)])]
[JsonSerializable(typeof(ReleaseDocument))]
[JsonSerializable(typeof(ReleaseStatus))]
[JsonSerializable(typeof(ReleasePage))]
[JsonSerializable(typeof(TrackStatus))]
[JsonSerializable(typeof(JobStatus))]
[JsonSerializable(typeof(JobPage))]
[JsonSerializable(typeof(LadderList))]
[JsonSerializable(typeof(BackfillList))]
[JsonSerializable(typeof(PlaybackRequest))]
[JsonSerializable(typeof(PlaybackAnswer))]
[JsonSerializable(typeof(ProblemDocument))]
public sealed partial class ApiJson : JsonSerializerContext;

/// <summary>An enum as its camelCase name, and never as a number.</summary>
internal sealed class WireEnum<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.CamelCase, allowIntegerValues: false)
    where T : struct, Enum;
