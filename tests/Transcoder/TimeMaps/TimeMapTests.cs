using System.Buffers.Binary;
using System.Globalization;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.TimeMaps;

namespace Delivery.Transcoder.Tests.TimeMaps;

public sealed class TimeMapTests(SharedFarm shared)
{
    private readonly Farm _farm = shared.Farm;

    [Fact]
    public async Task EveryPoint_StartsAPageFragmentOrFrame_AtItsTime_AboutOnePerSecond()
    {
        var set = await _farm.TranscodeAsync(Master.OfSeconds(12.3, 48_000, 24).ToWav());
        foreach (var rendition in set.Renditions)
        {
            var bytes = await _farm.ReadAsync(rendition.Key);
            Assert.Equal(0, rendition.TimeMap[0].TimeMs);
            Assert.Equal(rendition.Quality == "low" ? 4 : 13, rendition.TimeMap.Count, rendition.Quality == "low" ? 0.0 : 1.0);
            for (var i = 1; i < rendition.TimeMap.Count; i++)
                Assert.True(rendition.TimeMap[i].Offset > rendition.TimeMap[i - 1].Offset && rendition.TimeMap[i].TimeMs > rendition.TimeMap[i - 1].TimeMs);

            // ffprobe is the witness: where each packet lies and when it sounds.
            var packets = await PacketsAsync(rendition);
            foreach (var point in rendition.TimeMap)
            {
                var at = bytes.AsSpan((int)point.Offset);
                Assert.True(rendition.Extension switch
                {
                    "ogg" => at.StartsWith("OggS"u8),
                    "m4a" => at[4..].StartsWith("moof"u8),
                    _ => at[0] == 0xff && at[1] == 0xf8,
                });
                var next = packets.First(p => p.Offset >= point.Offset);
                // An Ogg page may open with the end of a packet, and AAC starts with its priming: one packet is the tolerance.
                Assert.Equal(point.TimeMs, next.TimeMs, rendition.Codec == "flac" ? 1.0 : 50.0);
            }

            Assert.Equal(packets[0].Offset, rendition.TimeMap[0].Offset, rendition.Extension == "m4a" ? 2_000.0 : 0.0);
        }
    }

    [Fact]
    public async Task Mp4_HasAnEditListOfThePriming_AndOneIndexOfTheExactLength()
    {
        var set = await _farm.TranscodeAsync((Master.OfSeconds(5) with { Sound = Master.Tone(0.22) }).ToWav());
        foreach (var rendition in set.Renditions.Where(r => r.Extension == "m4a"))
        {
            var bytes = await _farm.ReadAsync(rendition.Key);
            var elst = bytes.AsSpan().IndexOf("elst"u8);
            Assert.Equal(1024, BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(elst + 4 + 4 + 4 + 4)));
            var sidx = bytes.AsSpan().IndexOf("sidx"u8);
            Assert.Equal(-1, bytes.AsSpan(sidx + 4).IndexOf("sidx"u8));
            Assert.True(sidx < bytes.AsSpan().IndexOf("moof"u8));
            Assert.Equal(rendition.SampleRate, BinaryPrimitives.ReadInt32BigEndian(bytes.AsSpan(sidx + 12)));
        }
    }

    [Fact]
    public void LongTrack_GetsAWiderStep_AndABoundedMap()
    {
        var map = new TimeMapBuilder(44_100, TimeSpan.FromHours(4));
        for (long page = 0; page < 144_000; page++)
            map.Add(page * 1_000, page * 4_410);
        Assert.InRange(map.Points.Count, 3_600, TimeMapBuilder.MaxPoints);
        Assert.InRange(map.Points[^1].TimeMs, 14_390_000, 14_400_000);
    }

    [Fact]
    public void Step_StaysASecond_WhenPagesMissItByALittle()
    {
        var map = new TimeMapBuilder(44_100, TimeSpan.FromSeconds(100));
        for (long page = 0; page < 900; page++)
            map.Add(page, page * 4_800); // 108.8 ms
        Assert.InRange(map.Points.Count, 97, 98);
    }

    [Theory]
    [InlineData("ogg", 0, "No Ogg page")]
    [InlineData("ogg", -10, "ends in the middle")]
    [InlineData("flac", -10, "does not end")]
    [InlineData("m4a", 4, "has no moov")]
    public async Task TornFile_IsNotDescribed(string extension, int at, string expected)
    {
        var set = await _farm.TranscodeAsync((Master.OfSeconds(1.5) with { Sound = Master.Tone(0.21) }).ToWav());
        var rendition = set.Renditions.First(r => r.Extension == extension);
        var bytes = await _farm.ReadAsync(rendition.Key);
        if (at < 0)
            bytes = bytes[..^-at];
        else
            bytes.AsSpan(at).Clear();
        var path = Path.Combine(_farm.Folder, Guid.NewGuid().ToString("N"));
        await File.WriteAllBytesAsync(path, bytes);
        using var file = File.OpenHandle(path);
        var error = Assert.Throws<LayoutException>(() => extension switch
        {
            "ogg" => OggLayout.Read(file, 44_100, TimeSpan.FromSeconds(1.5)),
            "flac" => FlacLayout.Read(file, 44_100, TimeSpan.FromSeconds(1.5)),
            _ => Mp4Layout.Read(file, 44_100, TimeSpan.FromSeconds(1.5)),
        });
        Assert.Contains(expected, error.Message, StringComparison.Ordinal);
    }

    private async Task<List<(long Offset, double TimeMs)>> PacketsAsync(Rendition rendition)
    {
        var (exitCode, output, error) = await Tool.RunAsync("ffprobe", "-v", "error", "-show_entries", "packet=pts_time,pos", "-of", "csv=p=0", _farm.PathOf(rendition));
        Assert.True(exitCode == 0, error);
        return
        [
            .. System.Text.Encoding.ASCII.GetString(output).Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(line => line.Split(','))
                .Select(f => (long.Parse(f[1], CultureInfo.InvariantCulture), double.Parse(f[0], CultureInfo.InvariantCulture) * 1000)),
        ];
    }
}
