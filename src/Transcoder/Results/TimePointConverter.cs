using System.Text.Json;
using System.Text.Json.Serialization;

namespace Delivery.Transcoder.Results;

/// <summary>Writes a point as <c>[offset, timeMs]</c>: a four-hour map stays small.</summary>
public sealed class TimePointConverter : JsonConverter<TimePoint>
{
    public override TimePoint Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartArray)
            throw new JsonException("A time point is [offset, timeMs].");
        reader.Read();
        var offset = reader.GetInt64();
        reader.Read();
        var time = reader.GetInt64();
        reader.Read();
        if (reader.TokenType != JsonTokenType.EndArray)
            throw new JsonException("A time point is [offset, timeMs].");
        return new TimePoint(offset, time);
    }

    public override void Write(Utf8JsonWriter writer, TimePoint value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        writer.WriteNumberValue(value.Offset);
        writer.WriteNumberValue(value.TimeMs);
        writer.WriteEndArray();
    }
}
