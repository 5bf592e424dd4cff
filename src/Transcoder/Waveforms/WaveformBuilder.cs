using System.Buffers.Binary;

namespace Delivery.Transcoder.Waveforms;

/// <summary>Makes a waveform of a stream of mono PCM (signed 16 bits, little-endian) in memory that grows with the points alone.</summary>
/// <param name="sampleRate">Hz.</param>
/// <param name="samples">How many samples are expected; decides the samples per point. No more than <see cref="Waveform.MaxPoints"/> points are kept.</param>
internal sealed class WaveformBuilder(int sampleRate, long samples)
{
    private readonly int _perPoint = Waveform.SamplesPerPointOf(samples);
    private readonly List<byte> _points = [];
    private int _inPoint;
    private short _low = short.MaxValue, _high = short.MinValue;
    private int _oddByte = -1;

    /// <summary>Samples seen.</summary>
    public long Samples { get; private set; }

    /// <summary>Takes bytes in order; a sample may be divided between two calls.</summary>
    public void Add(ReadOnlySpan<byte> pcm)
    {
        if (_oddByte >= 0 && pcm.Length > 0)
        {
            AddSample((short)(_oddByte | (pcm[0] << 8)));
            _oddByte = -1;
            pcm = pcm[1..];
        }

        for (; pcm.Length >= 2; pcm = pcm[2..])
            AddSample(BinaryPrimitives.ReadInt16LittleEndian(pcm));
        if (pcm.Length == 1)
            _oddByte = pcm[0];
    }

    /// <summary>The waveform of all samples so far; the last point may stand for fewer than the others.</summary>
    public Waveform Build()
    {
        if (_inPoint > 0)
            EndPoint();
        return Waveform.Of(sampleRate, _perPoint, _points.ToArray());
    }

    private void AddSample(short sample)
    {
        Samples++;
        _low = Math.Min(_low, sample);
        _high = Math.Max(_high, sample);
        if (++_inPoint == _perPoint)
            EndPoint();
    }

    private void EndPoint()
    {
        // Towards zero, as audiowaveform does: the noise of the last bit draws no line below silence.
        if (_points.Count < 2 * Waveform.MaxPoints)
        {
            _points.Add((byte)(sbyte)(_low / 256));
            _points.Add((byte)(sbyte)(_high / 256));
        }

        (_inPoint, _low, _high) = (0, short.MaxValue, short.MinValue);
    }
}
