using System.Text.Json.Serialization;

namespace Delivery.Transcoder.Probing;

/// <summary>The part of ffprobe's JSON that is asked for.</summary>
internal sealed record ProbeOutput(IReadOnlyList<ProbedStream>? Streams, ProbedFormat? Format);

internal sealed record ProbedStream(
    string? CodecName, string? SampleFmt, string? SampleRate, int Channels, int BitsPerSample, string? BitsPerRawSample, long? DurationTs,
    string? TimeBase = null, string? Duration = null);

internal sealed record ProbedFormat(string? FormatName);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower)]
[JsonSerializable(typeof(ProbeOutput))]
internal sealed partial class ProbeJson : JsonSerializerContext;
