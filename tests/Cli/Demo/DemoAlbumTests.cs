using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.RegularExpressions;
using Delivery.Cli.Demo.Score;

namespace Delivery.Cli.Demo;

public sealed class DemoAlbumTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("delivery-demo-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void ShortestTrack_RenderedTwice_HasTheSameBytes()
    {
        var first = Render(PaperLanterns.Compose(), "first.wav");
        var second = Render(PaperLanterns.Compose(), "second.wav");

        Assert.Equal(Convert.ToHexString(SHA256.HashData(first)), Convert.ToHexString(SHA256.HashData(second)));
    }

    [Fact]
    public void WholeAlbum_Written_HasThreeSoundTracksAndAReleaseThatNamesThem()
    {
        var reported = new LastReport();
        DemoAlbum.Write(_folder, reported);

        Assert.Equal(1, reported.Value);
        Assert.Empty(Directory.GetFiles(_folder, "*.part"));
        using var release = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(_folder, DemoAlbum.ReleaseFileName)));
        Assert.Equal(DemoAlbum.ReleaseId, release.RootElement.GetProperty("id").GetString());
        Assert.True(HasGtinCheckDigit(release.RootElement.GetProperty("upc").GetString()!));
        var tracks = release.RootElement.GetProperty("tracks").EnumerateArray().ToArray();
        Assert.Equal(3, tracks.Length);
        Assert.Equal(3, tracks.Select(track => track.GetProperty("isrc").GetString()).Distinct().Count());
        (double Low, double High)[] seconds = [(18, 22), (57, 63), (170, 185)];
        for (var i = 0; i < tracks.Length; i++)
        {
            Assert.Matches(new Regex("^[A-Z]{2}[A-Z0-9]{3}[0-9]{7}$"), tracks[i].GetProperty("isrc").GetString());
            var audio = Wav.Read(File.ReadAllBytes(Path.Combine(_folder, tracks[i].GetProperty("file").GetString()!)));
            Assert.Equal(i == 1 ? (96_000, 24) : (44_100, 16), (audio.SampleRateHz, audio.BitsPerSample));
            Assert.InRange((double)audio.Left.Length / audio.SampleRateHz, seconds[i].Low, seconds[i].High);
            AssertMusical(audio);
        }
    }

    [Fact]
    public void AlbumAlreadyWritten_WrittenAgain_KeepsTheMastersAndRepairsATruncatedOne()
    {
        var piece = PaperLanterns.Compose();
        var whole = Render(piece, "master.wav");
        var path = Path.Combine(_folder, "master.wav");
        var before = File.GetLastWriteTimeUtc(path).AddHours(-1);
        File.SetLastWriteTimeUtc(path, before);

        Render(piece, "master.wav");
        Assert.Equal(before, File.GetLastWriteTimeUtc(path));

        File.WriteAllBytes(path, whole.AsSpan(0, whole.Length / 2));
        Assert.True(whole.AsSpan().SequenceEqual(Render(piece, "master.wav")));
    }

    [Fact]
    public void Write_CancelledWhileRendering_LeavesNoBrokenFile()
    {
        using var cancellation = new CancellationTokenSource();

        Assert.ThrowsAny<OperationCanceledException>(() => DemoAlbum.Write(_folder, new CancelAtFirstReport(cancellation), cancellation.Token));

        Assert.Empty(Directory.GetFiles(_folder));
    }

    private byte[] Render(Piece piece, string fileName)
    {
        var path = Path.Combine(_folder, fileName);
        DemoAlbum.WriteMaster(path, piece, new RenderProgress(piece.FrameCount, null), CancellationToken.None);
        return File.ReadAllBytes(path);
    }

    /// <summary>What a listener would object to, in figures: clipping, wrong level, an offset, mono, a late start, a hole.</summary>
    private static void AssertMusical(Wav audio)
    {
        double peak = 0, sum = 0, energyLeft = 0, energyRight = 0, product = 0;
        var window = audio.SampleRateHz / 2;
        var quietest = double.MaxValue;
        double windowEnergy = 0;
        // The last five seconds are the final chord and its fade.
        var body = audio.Left.Length - 5 * audio.SampleRateHz;
        for (var n = 0; n < audio.Left.Length; n++)
        {
            double left = audio.Left[n], right = audio.Right[n];
            peak = Math.Max(peak, Math.Max(Math.Abs(left), Math.Abs(right)));
            sum += left + right;
            energyLeft += left * left;
            energyRight += right * right;
            product += left * right;
            windowEnergy += left * left + right * right;
            if ((n + 1) % window == 0)
            {
                if (n < body)
                    quietest = Math.Min(quietest, windowEnergy / window / 2);
                windowEnergy = 0;
            }
        }
        var rms = 10 * Math.Log10((energyLeft + energyRight) / (2.0 * audio.Left.Length));
        Assert.InRange(20 * Math.Log10(peak), -6, -1);
        Assert.InRange(rms, -22, -15);
        Assert.InRange(10 * Math.Log10(quietest), -45, 0);
        Assert.InRange(sum / (2.0 * audio.Left.Length), -0.0005, 0.0005);
        Assert.InRange(product / Math.Sqrt(energyLeft * energyRight), 0.2, 0.98);
        Assert.Contains(audio.Left.AsSpan(0, audio.SampleRateHz / 20).ToArray(), sample => Math.Abs(sample) > 0.01);
        Assert.All(audio.Left[^8..], sample => Assert.InRange(sample, -0.0002f, 0.0002f));
    }

    private static bool HasGtinCheckDigit(string gtin) =>
        gtin.Length == 12 && gtin.All(char.IsAsciiDigit) && gtin.Select((digit, i) => (digit - '0') * (i % 2 == 0 ? 3 : 1)).Sum() % 10 == 0;

    private sealed class LastReport : IProgress<double>
    {
        private double _value;
        public double Value => Volatile.Read(ref _value);

        public void Report(double value)
        {
            for (var seen = Value; value > seen;)
            {
                var found = Interlocked.CompareExchange(ref _value, value, seen);
                if (found == seen)
                    return;
                seen = found;
            }
        }
    }

    private sealed class CancelAtFirstReport(CancellationTokenSource cancellation) : IProgress<double>
    {
        public void Report(double value) => cancellation.Cancel();
    }

    /// <summary>An independent reading of the header, chunk by chunk, as RIFF lays it down.</summary>
    private sealed record Wav(int SampleRateHz, int BitsPerSample, float[] Left, float[] Right)
    {
        public static Wav Read(byte[] file)
        {
            Assert.Equal("RIFF"u8.ToArray(), file[..4]);
            Assert.Equal(file.Length - 8, (int)BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(4)));
            Assert.Equal("WAVE"u8.ToArray(), file[8..12]);
            int rate = 0, bits = 0;
            for (var at = 12; ;)
            {
                var id = file.AsSpan(at, 4);
                var length = (int)BinaryPrimitives.ReadUInt32LittleEndian(file.AsSpan(at + 4));
                var body = file.AsSpan(at + 8, length);
                Assert.Equal(0, at % 2);
                if (id.SequenceEqual("fmt "u8))
                {
                    Assert.Equal(2, BinaryPrimitives.ReadUInt16LittleEndian(body[2..]));
                    rate = BinaryPrimitives.ReadInt32LittleEndian(body[4..]);
                    bits = BinaryPrimitives.ReadUInt16LittleEndian(body[14..]);
                    Assert.Equal(bits == 16 ? 1 : 0xFFFE, BinaryPrimitives.ReadUInt16LittleEndian(body));
                    Assert.Equal(rate * 2 * bits / 8, BinaryPrimitives.ReadInt32LittleEndian(body[8..]));
                    Assert.Equal(2 * bits / 8, BinaryPrimitives.ReadUInt16LittleEndian(body[12..]));
                }
                if (id.SequenceEqual("data"u8))
                {
                    Assert.Equal(file.Length, at + 8 + length);
                    return Samples(rate, bits, body);
                }
                at += 8 + length;
            }
        }

        private static Wav Samples(int rate, int bits, ReadOnlySpan<byte> data)
        {
            var bytes = bits / 8;
            var frames = data.Length / (2 * bytes);
            var audio = new Wav(rate, bits, new float[frames], new float[frames]);
            for (var n = 0; n < frames; n++)
            {
                audio.Left[n] = Sample(data.Slice(2 * n * bytes, bytes));
                audio.Right[n] = Sample(data.Slice((2 * n + 1) * bytes, bytes));
            }
            return audio;
        }

        private static float Sample(ReadOnlySpan<byte> bytes) => bytes.Length == 2
            ? BinaryPrimitives.ReadInt16LittleEndian(bytes) / 32768f
            : (bytes[0] | bytes[1] << 8 | (sbyte)bytes[2] << 16) / 8388608f;
    }
}
