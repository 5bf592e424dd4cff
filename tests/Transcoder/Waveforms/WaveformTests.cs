using System.Buffers.Binary;
using Delivery.Transcoder.Waveforms;

namespace Delivery.Transcoder.Tests.Waveforms;

public sealed class WaveformTests
{
    /// <summary>BBC audiowaveform's format, byte by byte: version 2, 8 bits, 44,100 Hz, 1,024 samples per point, 2 points, 1 channel.</summary>
    [Fact]
    public void File_IsTheGoldenOne()
    {
        var builder = new WaveformBuilder(44_100, 1_500);
        builder.Add(Pcm(1_024, i => (short)(i == 7 ? -32_768 : i == 9 ? 32_767 : 0)));
        builder.Add(Pcm(476, i => (short)(i == 0 ? -255 : 5_120)));
        var file = builder.Build().ToBytes();
        Assert.Equal("020000000100000044AC0000000400000200000001000000" + "807F" + "0014", Convert.ToHexString(file));
        Assert.Equal(
            """{"version":2,"channels":1,"sample_rate":44100,"samples_per_pixel":1024,"bits":8,"length":2,"data":[-128,127,0,20]}""",
            System.Text.Encoding.UTF8.GetString(Waveform.TryRead(file)!.ToJson()));
    }

    [Fact]
    public void Pieces_OfAnyLength_GiveTheSame()
    {
        var pcm = Pcm(10_001, i => (short)(i * 7919));
        var whole = new WaveformBuilder(44_100, 10_001);
        whole.Add(pcm);
        var pieces = new WaveformBuilder(44_100, 10_001);
        for (int at = 0, length = 0; at < pcm.Length; at += length, length = (length + 3) % 17)
            pieces.Add(pcm.AsSpan(at, Math.Min(length, pcm.Length - at)));
        Assert.Equal(10_001, pieces.Samples);
        Assert.Equal(whole.Build().ToBytes(), pieces.Build().ToBytes());
    }

    [Theory]
    [InlineData(1, 1_024)]
    [InlineData(65_536L * 1_024, 1_024)]
    [InlineData((65_536L * 1_024) + 1, 2_048)]
    [InlineData(4 * 3_600 * 44_100L, 16_384)]
    [InlineData(24 * 3_600 * 44_100L, 65_536)]
    public void SamplesPerPoint_GrowsSoThatThereAreAtMost65536(long samples, int perPoint)
    {
        Assert.Equal(perPoint, Waveform.SamplesPerPointOf(samples));
        Assert.InRange((samples + perPoint - 1) / perPoint, 1, Waveform.MaxPoints);
    }

    [Theory]
    [InlineData("")]
    [InlineData("010000000100000044AC0000000400000100000001000000807F")] // version 1
    [InlineData("020000000000000044AC0000000400000100000001000000807F")] // 16 bits
    [InlineData("020000000100000044AC0000000400000100000002000000807F")] // two channels
    [InlineData("020000000100000044AC0000000400000200000001000000807F")] // a point too few
    [InlineData("0200000001000000000000000004000001000000010000" + "00807F")] // no sample rate
    [InlineData("020000000100000044AC000000040000FFFFFFFF01000000807F")]
    public void OtherBytes_AreNoWaveform(string hex) => Assert.Null(Waveform.TryRead(Convert.FromHexString(hex)));

    private static byte[] Pcm(int samples, Func<int, short> sound)
    {
        var pcm = new byte[2 * samples];
        for (var i = 0; i < samples; i++)
            BinaryPrimitives.WriteInt16LittleEndian(pcm.AsSpan(2 * i), sound(i));
        return pcm;
    }
}
