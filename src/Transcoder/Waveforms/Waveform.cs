using System.Buffers.Binary;
using System.Text.Json;

namespace Delivery.Transcoder.Waveforms;

/// <summary>
/// The lowest and the highest sample of each stretch of a track, for players to draw: BBC audiowaveform's binary format, version 2, of 8 bits and
/// one channel. Format: docs/formats/waveform.md.
/// </summary>
/// <remarks>
/// <code>
/// 0   int32   2                     16  uint32  points
/// 4   uint32  1 (8 bits)            20  int32   1 (channels)
/// 8   int32   sample rate in Hz     24  int8    low, int8 high: once per point
/// 12  int32   samples per point         all little-endian
/// </code>
/// </remarks>
public sealed class Waveform
{
    /// <summary>Media type of the file.</summary>
    public const string ContentType = "application/octet-stream";

    /// <summary>Fewest samples per point: at 44.1 kHz, 43 points per second are more than a screen shows of a song.</summary>
    public const int MinSamplesPerPoint = 1024;

    /// <summary>Most points; the samples per point double until no more are needed. Four hours then take 77 KB.</summary>
    public const int MaxPoints = 65_536;

    /// <summary>Largest file: header and <see cref="MaxPoints"/>.</summary>
    public const int MaxBytes = HeaderBytes + (2 * MaxPoints);

    private const int HeaderBytes = 24;
    private const int Version = 2;
    private const uint EightBits = 1;

    private readonly ReadOnlyMemory<byte> _points;

    private Waveform(int sampleRate, int samplesPerPoint, ReadOnlyMemory<byte> points) => (SampleRate, SamplesPerPoint, _points) = (sampleRate, samplesPerPoint, points);

    /// <summary>Hz.</summary>
    public int SampleRate { get; }

    public int SamplesPerPoint { get; }

    public int Points => _points.Length / 2;

    /// <summary>Samples per point for a track of so many samples.</summary>
    public static int SamplesPerPointOf(long samples)
    {
        var perPoint = MinSamplesPerPoint;
        while (perPoint < 1 << 24 && (samples + perPoint - 1) / perPoint > MaxPoints)
            perPoint *= 2;
        return perPoint;
    }

    /// <param name="sampleRate">Hz.</param>
    /// <param name="samplesPerPoint">At least 1.</param>
    /// <param name="points">Low and high in turn, as signed bytes; not copied.</param>
    public static Waveform Of(int sampleRate, int samplesPerPoint, ReadOnlyMemory<byte> points) => new(sampleRate, samplesPerPoint, points);

    /// <summary>Null when the bytes are not a waveform as this class writes it.</summary>
    public static Waveform? TryRead(ReadOnlyMemory<byte> file)
    {
        if (file.Length < HeaderBytes)
            return null;
        var header = file.Span;
        var sampleRate = BinaryPrimitives.ReadInt32LittleEndian(header[8..]);
        var samplesPerPoint = BinaryPrimitives.ReadInt32LittleEndian(header[12..]);
        return BinaryPrimitives.ReadInt32LittleEndian(header) == Version
            && BinaryPrimitives.ReadUInt32LittleEndian(header[4..]) == EightBits
            && BinaryPrimitives.ReadInt32LittleEndian(header[20..]) == 1
            && sampleRate > 0
            && samplesPerPoint > 0
            && BinaryPrimitives.ReadUInt32LittleEndian(header[16..]) is <= MaxPoints and var points
            && file.Length == HeaderBytes + (2 * points)
                ? new Waveform(sampleRate, samplesPerPoint, file[HeaderBytes..])
                : null;
    }

    /// <summary>The file.</summary>
    public byte[] ToBytes()
    {
        var file = new byte[HeaderBytes + _points.Length];
        BinaryPrimitives.WriteInt32LittleEndian(file, Version);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(4), EightBits);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(8), SampleRate);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(12), SamplesPerPoint);
        BinaryPrimitives.WriteUInt32LittleEndian(file.AsSpan(16), (uint)Points);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(20), 1);
        _points.Span.CopyTo(file.AsSpan(HeaderBytes));
        return file;
    }

    /// <summary>The same as audiowaveform's JSON, version 2, in UTF-8.</summary>
    public byte[] ToJson()
    {
        using var json = new MemoryStream();
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            writer.WriteNumber("version", Version);
            writer.WriteNumber("channels", 1);
            writer.WriteNumber("sample_rate", SampleRate);
            writer.WriteNumber("samples_per_pixel", SamplesPerPoint);
            writer.WriteNumber("bits", 8);
            writer.WriteNumber("length", Points);
            writer.WriteStartArray("data");
            foreach (var value in _points.Span)
                writer.WriteNumberValue((sbyte)value);
            writer.WriteEndArray();
            writer.WriteEndObject();
        }

        return json.ToArray();
    }
}
