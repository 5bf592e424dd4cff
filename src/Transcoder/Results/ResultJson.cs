using System.Text.Json.Serialization;
using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Results;

/// <summary>JSON of the farm's messages and results: camelCase, enums as camelCase words, nulls left out.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    UseStringEnumConverter = true,
    WriteIndented = false)]
[JsonSerializable(typeof(RenditionSet))]
[JsonSerializable(typeof(TranscodeJob))]
[JsonSerializable(typeof(JobReport))]
public sealed partial class ResultJson : JsonSerializerContext;
