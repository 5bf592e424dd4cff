using System.Security.Cryptography;
using Delivery.Transcoder.Analysis;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Results;

namespace Delivery.Transcoder.Tests.Jobs;

public sealed class WholeJobTests(SharedFarm shared)
{
    private const double HalfScaleToneRms = 0.5 / 1.41421356;
    private readonly Farm _farm = shared.Farm;

    [Fact]
    public async Task CdMaster_BecomesTheWholeLadder_EveryFileAsItsManifestSays()
    {
        var set = await _farm.TranscodeAsync(Master.OfSeconds(4).ToWav());
        Assert.Equal(
            ["low aac", "normal vorbis", "normal aac", "high vorbis", "high aac", "veryhigh vorbis", "veryhigh aac", "lossless flac", "preview vorbis", "preview aac"],
            set.Renditions.Select(r => $"{r.Quality} {r.Codec}"));
        Assert.Equal(new MasterFacts("wav", "pcm_s16le", 44_100, 16, 2, 176_400), set.Master);
        foreach (var rendition in set.Renditions)
        {
            var bytes = await _farm.ReadAsync(rendition.Key);
            Assert.Equal(rendition.Bytes, bytes.Length);
            Assert.Equal(rendition.Sha256, Convert.ToHexStringLower(SHA256.HashData(bytes)));
            Assert.Equal(rendition.FileId, rendition.Sha256[..40]);
            Assert.Equal(bytes.Chunk(rendition.ChunkBytes).Select(c => Convert.ToHexStringLower(SHA256.HashData(c))), rendition.ChunkSha256);
            Assert.InRange(rendition.FirstSoundBytes, 1, 65_536);
            Assert.Equal(rendition.Bytes * 8 / 4.0, rendition.Bitrate, 1.0);
            var info = await _farm.Store.FindAsync(ObjectStore.ObjectKey.Parse(rendition.Key), default);
            Assert.Equal(rendition.Extension switch { "ogg" => "audio/ogg", "m4a" => "audio/mp4", _ => "audio/flac" }, info!.ContentType);
        }
    }

    [Fact]
    public async Task Waveform_IsTheTracks_PointByPoint()
    {
        // Two seconds at half of full scale on the left alone: the mix has a quarter of it. Then silence, then a short full-scale burst.
        var master = Master.OfSeconds(4) with { Sound = (t, c) => t < 2 ? (c == 0 ? 0.5 * Math.Sin(2 * Math.PI * 500 * t) : 0) : t is > 3 and < 3.01 ? Math.Sin(2 * Math.PI * 500 * t) : 0 };
        var set = await _farm.TranscodeAsync(master.ToWav());
        var file = await _farm.ReadAsync(ResultKeys.Waveform(ResultKeys.Manifest(set.MasterSha256, set.Ladder, set.Encoder)).Value);
        Assert.Equal(new WaveformFacts(file.Length, Convert.ToHexStringLower(SHA256.HashData(file)), 44_100, 1024, 173), set.Waveform);
        var points = Enumerable.Range(0, 173).Select(i => ((sbyte)file[24 + (2 * i)], (sbyte)file[25 + (2 * i)])).ToList();
        Assert.All(points[..86], p => Assert.Equal((-32, 32), (p.Item1, p.Item2), (a, b) => Math.Abs(a.Item1 - b.Item1) <= 1 && Math.Abs(a.Item2 - b.Item2) <= 1));
        Assert.All(points[87..128], p => Assert.Equal((0, 0), p));
        Assert.InRange(points[129].Item2, 126, 127);
    }

    [Fact]
    public async Task EveryRendition_SoundsFromItsFirstBytes_AndNotFromOneByteLess()
    {
        var set = await _farm.TranscodeAsync(Master.OfSeconds(3, 96_000, 24).ToWav());
        foreach (var rendition in set.Renditions)
        {
            var bytes = await _farm.ReadAsync(rendition.Key);
            Assert.True(await SamplesAsync(bytes[..rendition.FirstSoundBytes], rendition) > rendition.Gapless.EncoderDelay, rendition.ToString());
            // FLAC and AAC decoders of ffmpeg give what they can of a torn frame; only Ogg pages are all or nothing.
            if (rendition.Codec == "vorbis")
                Assert.Equal(0, await SamplesAsync(bytes[..(rendition.FirstSoundBytes - 1)], rendition));
        }

        async Task<long> SamplesAsync(byte[] prefix, Rendition rendition)
        {
            var file = Path.Combine(_farm.Folder, $"{Guid.NewGuid():N}.{rendition.Extension}");
            await File.WriteAllBytesAsync(file, prefix);
            var (_, output, _) = await Tool.RunAsync("ffmpeg", "-v", "quiet", "-i", file, "-f", "s16le", "-c:a", "pcm_s16le", "-");
            File.Delete(file);
            return output.Length / 2 / rendition.Channels;
        }
    }

    [Theory]
    [InlineData(44_100, 16, 2)]
    [InlineData(44_100, 16, 1)]
    public async Task CdMaster_LosslessRendition_HasTheMastersSamples(int rate, int bits, int channels)
    {
        var master = Master.OfSeconds(2.345, rate, bits, channels);
        var set = await _farm.TranscodeAsync(master.ToWav());
        var lossless = Assert.Single(set.Renditions, r => r.Codec == "flac");
        Assert.Equal(("lossless", channels, 16, master.Samples), (lossless.Quality, lossless.Channels, lossless.BitsPerSample, lossless.Gapless.TotalSamples));
        Assert.Equal(master.PcmMd5(), await StreamInfoMd5Async(lossless));
    }

    [Theory]
    [InlineData(96_000, 24)]
    [InlineData(192_000, 24)]
    [InlineData(44_100, 24)]
    [InlineData(48_000, 16)]
    public async Task HigherMaster_GivesHiresAsItIs_AndACdRendition(int rate, int bits)
    {
        var master = Master.OfSeconds(1.5, rate, bits);
        var set = await _farm.TranscodeAsync(master.ToWav());
        var hires = Assert.Single(set.Renditions, r => r.Quality == "hires");
        Assert.Equal((rate, bits, master.Samples), (hires.SampleRate, hires.BitsPerSample, hires.Gapless.TotalSamples));
        Assert.Equal(master.PcmMd5(), await StreamInfoMd5Async(hires));
        var cd = Assert.Single(set.Renditions, r => r.Quality == "lossless");
        Assert.Equal((44_100, 16, 66_150L), (cd.SampleRate, cd.BitsPerSample, cd.Gapless.TotalSamples));
    }

    [Theory]
    [InlineData(44_100)]
    [InlineData(96_000)]
    public async Task ReducedDepth_IsDithered_SoThatSoundBelowTheLastBitSurvives(int rate)
    {
        // A tone of 0.4 of a 16-bit step: without dither it rounds to silence (44.1 kHz) or to a distorted square (rounded by the resampler).
        var master = Master.OfSeconds(2, rate, 24) with { Sound = Master.Tone(0.4 / 32_768) };
        var set = await _farm.TranscodeAsync(master.ToWav());
        var samples = await Tool.DecodeAsync(_farm.PathOf(set.Renditions.Single(r => r.Quality == "lossless")));
        double inPhase = 0, quadrature = 0, power = 0;
        for (var i = 0; i < samples.Length / 2; i++)
        {
            var angle = 2 * Math.PI * 1000 * i / 44_100;
            inPhase += samples[2 * i] * Math.Sin(angle);
            quadrature += samples[2 * i] * Math.Cos(angle);
            power += samples[2 * i] * samples[2 * i];
        }

        var amplitude = 2 * Math.Sqrt((inPhase * inPhase) + (quadrature * quadrature)) / (samples.Length / 2) * 32_768;
        Assert.InRange(amplitude, 0.3, 0.5);
        // Noise of triangular dither and rounding: 0.5 steps RMS; a square wave would have none.
        Assert.InRange(Math.Sqrt(power / (samples.Length / 2)) * 32_768, 0.4, 0.9);
    }

    [Fact]
    public async Task EveryRendition_IsGapless_ToTheSample()
    {
        // 1.7 s of 48 kHz is 74,970 samples at 44.1 kHz and 37,485 at 22.05.
        var set = await _farm.TranscodeAsync(Master.OfSeconds(1.7, 48_000).ToWav());
        foreach (var rendition in set.Renditions)
        {
            var expected = rendition.Quality switch { "low" => 37_485, "hires" => 81_600, _ => 74_970 };
            Assert.Equal(expected, rendition.Gapless.TotalSamples);
            var decoded = (await Tool.DecodeAsync(_farm.PathOf(rendition))).Length / rendition.Channels;
            Assert.Equal(rendition.Gapless.EncoderDelay + rendition.Gapless.TotalSamples + rendition.Gapless.Padding, decoded);
            Assert.Equal(rendition.Codec == "aac" ? 1024 : 0, rendition.Gapless.EncoderDelay);
        }
    }

    [Fact]
    public async Task AClick_IsWhereItWas_InEveryRendition()
    {
        const double ClickAt = 0.75;
        var master = Master.OfSeconds(1.5) with { Sound = (t, _) => Math.Abs(t - ClickAt) < 0.0001 ? 0.9 : 0 };
        var set = await _farm.TranscodeAsync(master.ToWav());
        foreach (var rendition in set.Renditions)
        {
            var samples = await Tool.DecodeAsync(_farm.PathOf(rendition));
            var loudest = Enumerable.Range(0, samples.Length / rendition.Channels).MaxBy(i => Math.Abs(samples[i * rendition.Channels]));
            Assert.Equal(ClickAt, (double)(loudest - rendition.Gapless.EncoderDelay) / rendition.SampleRate, 0.0015);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Level_IsTheMasters_InEveryRendition(int channels)
    {
        // ffmpeg's own mono-to-stereo is 3 dB down, its stereo-to-mono 3 dB up.
        var set = await _farm.TranscodeAsync((Master.OfSeconds(3, channels: channels) with { Sound = Master.Tone(0.5) }).ToWav());
        foreach (var rendition in set.Renditions)
        {
            var samples = await Tool.DecodeAsync(_farm.PathOf(rendition));
            var inner = samples[(samples.Length / 4)..(samples.Length * 3 / 4)];
            var rms = Math.Sqrt(inner.Average(s => (double)s * s));
            // The encoder at 24 kbit/s is itself 0.6 dB off on a bare tone.
            var tolerance = rendition.Quality == "low" ? 1 : 0.1;
            Assert.InRange(20 * Math.Log10(rms / HalfScaleToneRms), -tolerance, tolerance);
            Assert.Equal(rendition.Quality == "low" ? 1 : rendition.Codec == "flac" ? channels : 2, rendition.Channels);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Loudness_OfAReferenceTone_IsItsLevel(int channels)
    {
        // EBU Tech 3341, case 1: a stereo 1 kHz sine of -23 dBFS reads -23 LUFS; mono is played by two speakers and reads the same.
        var tone = Master.OfSeconds(4, channels: channels) with { Sound = Master.Tone(Math.Pow(10, -23 / 20.0)) };
        var set = await _farm.TranscodeAsync(tone.ToWav());
        Assert.Equal(-23, set.Loudness!.IntegratedLufs, 0.15);
        Assert.Equal(-23, set.Loudness.TruePeakDbtp, 0.15);
        Assert.Null(set.Loudness.RangeLu); // Shorter than a minute.
    }

    [Fact]
    public async Task Silence_HasNoLoudness_AndAWarning()
    {
        var set = await _farm.TranscodeAsync((Master.OfSeconds(2) with { Sound = (_, _) => 0 }).ToWav());
        Assert.Null(set.Loudness);
        Assert.Null(set.Report.SamplePeakDbfs);
        Assert.All(set.Renditions, r => Assert.Null(r.IntegratedLufs));
        Assert.Equal("silent", Assert.Single(QualityJudge.Judge(set, new QualityThresholds())).Code);
    }

    [Fact]
    public async Task DoubtfulMaster_IsPublished_WithWarnings()
    {
        // Clipped, off centre, sixteen bits in twenty-four, with a long silence at its start.
        var master = Master.OfSeconds(5, bits: 24) with
        {
            Sound = (t, c) => t < 2.5 ? 0 : Math.Round((Math.Clamp(3 * Math.Sin(2 * Math.PI * 200 * t), -1, 1) * 0.98 + 0.02) * 32_767) * 256 / 8_388_607,
        };
        var set = await _farm.TranscodeAsync(master.ToWav());
        var codes = QualityJudge.Judge(set, new QualityThresholds()).Select(w => w.Code).ToList();
        Assert.Superset(new HashSet<string> { "truePeak", "clipping", "dcOffset", "leadingSilence", "paddedBitDepth" }, codes.ToHashSet());
    }

    [Theory]
    [InlineData("flac", "flac")]
    [InlineData("aiff", "aiff")]
    [InlineData("w64", "w64")]
    public async Task OtherContainer_GivesTheSameRenditions(string extension, string container)
    {
        // W64 pads its data to 8 bytes, and ffmpeg reads the padding as sound: a length that needs none.
        var wav = (Master.OfSeconds(0) with { Samples = 52_920 }).ToWav();
        var other = await Tool.ConvertAsync(wav, extension);
        var fromWav = await _farm.TranscodeAsync(wav);
        var fromOther = await _farm.TranscodeAsync(other, extension);
        Assert.Equal(container, fromOther.Master.Container);
        Assert.Equal(fromWav.Renditions.Select(r => r.FileId), fromOther.Renditions.Select(r => r.FileId));
    }

    [Fact]
    public async Task FloatMaster_GivesHiresOf24Bits()
    {
        var master = new Master { Samples = 96_000, SampleRate = 48_000, Bits = 32, IsFloat = true };
        var set = await _farm.TranscodeAsync(master.ToWav());
        Assert.Equal(("pcm_f32le", 32), (set.Master.Codec, set.Master.BitsPerSample));
        Assert.Equal((24, 48_000), set.Renditions.Where(r => r.Quality == "hires").Select(r => (r.BitsPerSample!.Value, r.SampleRate)).Single());
    }

    [Fact]
    public async Task MasterWithWrongExtension_IsJudgedByItsContent()
    {
        var set = await _farm.TranscodeAsync((Master.OfSeconds(1.1) with { Sound = Master.Tone(0.1) }).ToWav(), "flac");
        Assert.Equal("wav", set.Master.Container);
    }

    [Fact]
    public async Task TaggedMasterWithCover_GivesTheSameFilesAsWithout()
    {
        var wav = (Master.OfSeconds(1.2) with { Sound = Master.Tone(0.2) }).ToWav();
        var cover = Path.Combine(_farm.Folder, $"{Guid.NewGuid():N}.png");
        Assert.Equal(0, (await Tool.RunAsync("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", cover)).ExitCode);
        var tagged = await Tool.ConvertAsync(wav, "flac", "-i", cover, "-map", "0:a", "-map", "1:v", "-disposition:v", "attached_pic", "-metadata", "title=[info] Stream mapping: I: -3.0 LUFS");
        var plain = await _farm.TranscodeAsync(wav);
        var set = await _farm.TranscodeAsync(tagged, "flac");
        Assert.Equal(plain.Renditions.Select(r => r.FileId), set.Renditions.Select(r => r.FileId));
        Assert.Equal(plain.Loudness, set.Loudness);
    }

    [Fact]
    public async Task OneSecond_IsLongEnough()
    {
        var set = await _farm.TranscodeAsync(Master.OfSeconds(1).ToWav());
        Assert.All(set.Renditions, r => Assert.Equal(r.SampleRate, r.Gapless.TotalSamples));
    }

    [Fact]
    public async Task LongTrack_GivesAPreviewOf30Seconds_FromAQuarterIn()
    {
        // A tone whose pitch tells the second: 200 Hz more each.
        var master = Master.OfSeconds(36, channels: 1) with { Sound = (t, _) => 0.3 * Math.Sin(2 * Math.PI * (200 + (200 * Math.Floor(t))) * t) };
        var set = await _farm.TranscodeAsync(master.ToWav());
        Assert.All(set.Renditions.Where(r => r.Quality == "preview"), r => Assert.Equal(30 * 44_100, r.Gapless.TotalSamples));
        var preview = await Tool.DecodeAsync(_farm.PathOf(set.Renditions.Single(r => r is { Quality: "preview", Codec: "vorbis" })));
        // A quarter of 36 s is 9, the last start that leaves 30 s is 6: the preview's second 10 is the track's second 16.
        Assert.Equal(200 + (200 * 16), CountCycles(preview, second: 10), 3.0);
        Assert.InRange(Math.Abs(preview[20]), 0, 0.01); // It fades in.
        Assert.InRange(Math.Abs(preview[^20]), 0, 0.01);

        static double CountCycles(float[] stereo, int second) =>
            Enumerable.Range(second * 44_100, 44_099).Count(i => stereo[2 * i] < 0 && stereo[2 * (i + 1)] >= 0);
    }

    [Fact]
    public async Task SameMaster_InAnotherWorker_GivesTheSameBytes_ManifestIncluded()
    {
        var wav = Master.OfSeconds(2.5, 96_000, 24).ToWav();
        await using var other = Farm.Create();
        await other.StartAsync();
        var here = await _farm.RunAsync(wav);
        var there = await other.RunAsync(wav);
        Assert.Equal(here.ResultKey, there.ResultKey);
        var set = await other.ReadSetAsync(there.ResultKey!);
        var keys = await other.ListAsync("audio/");
        keys.AddRange(await other.ListAsync("catalog/"));
        Assert.Equal(set.Renditions.DistinctBy(r => r.FileId).Count() + 2, keys.Count); // The waveform and the manifest itself.
        foreach (var key in keys)
            Assert.Equal(await other.ReadAsync(key), await _farm.ReadAsync(key));
    }

    [Fact]
    public async Task SameMaster_UnderAnotherTrack_IsDoneWithoutEncoding()
    {
        var wav = (Master.OfSeconds(1.3) with { Sound = Master.Tone(0.3) }).ToWav();
        var first = await _farm.RunAsync(wav);
        var second = await _farm.RunAsync(wav);
        Assert.Equal(first.ResultKey, second.ResultKey);
        Assert.NotEqual(first.JobId, second.JobId);
        Assert.Contains(_farm.Reports, r => r.JobId == first.JobId && r.Phase == JobPhase.Encode);
        Assert.DoesNotContain(_farm.Reports, r => r.JobId == second.JobId && r.Phase == JobPhase.Encode);
    }

    [Fact]
    public async Task PublishedSet_ThatLostARendition_IsMadeWholeAgain()
    {
        var wav = (Master.OfSeconds(1.4) with { Sound = Master.Tone(0.35) }).ToWav();
        var first = await _farm.RunAsync(wav);
        var lost = (await _farm.ReadSetAsync(first.ResultKey!)).Renditions[3];
        var manifest = await _farm.ReadAsync(first.ResultKey!);
        Assert.True(await _farm.Store.DeleteAsync(ObjectStore.ObjectKey.Parse(lost.Key), default));
        var again = await _farm.RunAsync(wav);
        Assert.Equal(JobPhase.Done, again.Phase);
        Assert.Equal(lost.Bytes, (await _farm.ReadAsync(lost.Key)).Length);
        Assert.Equal(manifest, await _farm.ReadAsync(first.ResultKey!));
    }

    [Fact]
    public async Task Progress_RisesThroughThePhases_ToOne()
    {
        var job = await _farm.UploadAsync((Master.OfSeconds(3) with { Sound = Master.Tone(0.25) }).ToWav());
        Assert.Equal(JobPhase.Done, (await _farm.RunAsync(job)).Phase);
        var reports = _farm.Reports.Where(r => r.JobId == job.JobId).ToList();
        Assert.Equal(reports.Select(r => r.Progress).Order(), reports.Select(r => r.Progress));
        Assert.Equal(reports.Select(r => r.Phase).Order(), reports.Select(r => r.Phase));
        Assert.Equal(1, reports[^1].Progress);
        Assert.All(reports, r => Assert.Equal((job.TrackId, 1), (r.TrackId, r.Attempt)));
    }

    private async Task<string> StreamInfoMd5Async(Rendition flac)
    {
        var (exitCode, output, _) = await Tool.RunAsync("metaflac", "--show-md5sum", _farm.PathOf(flac));
        Assert.Equal(0, exitCode);
        return System.Text.Encoding.ASCII.GetString(output).Trim();
    }
}
