using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Jobs;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Tools;
using Delivery.Transcoder.Verification;

namespace Delivery.Transcoder.Tests.Cage;

/// <summary>Masters with random damage: the real tools, in the cage, make a verified ladder or the job has a named failure. The seed is the test's name.</summary>
public sealed class MutatedMasterTests(SharedFarm shared)
{
    private const int CasesPerKind = 10;

    /// <summary>One lossless rung and one lossy: the others share their decoder.</summary>
    private static readonly Ladder TwoRungs = Ladder.Default with { Rungs = [Ladder.Default.Rungs.First(r => r.Codec == RungCodec.Flac), Ladder.Default.Rungs.First(r => r.Codec == RungCodec.Vorbis && !r.Excerpt)] };

    private static readonly TranscoderOptions Options = new() { MinDuration = TimeSpan.FromSeconds(0.1), MinTimeLimit = TimeSpan.FromSeconds(20), StallTimeout = TimeSpan.FromSeconds(20) };

    [Theory]
    [InlineData("wav", 1)]
    [InlineData("flac", 2)]
    [InlineData("aiff", 3)]
    [InlineData("w64", 4)]
    public async Task RandomDamage_EndsInAVerifiedLadder_OrANamedFailure(string extension, int seed)
    {
        var master = await Tool.ConvertAsync(Master.OfSeconds(0.15, channels: 1).ToWav(), extension);
        var random = new Random(seed);
        var tools = ToolSet.Find();
        var cage = new ToolCage(tools, shared.Farm.Node!.Isolation, TimeProvider.System);
        var ends = new List<string>();
        for (var number = 0; number < CasesPerKind; number++)
        {
            var damaged = Damage(master, random);
            var folder = Directory.CreateTempSubdirectory("transcoder-tests-").FullName;
            try
            {
                await File.WriteAllBytesAsync(Path.Combine(folder, "master"), damaged);
                ends.Add(await RunAsync(tools, cage, folder));
            }
            finally
            {
                Directory.Delete(folder, recursive: true);
            }
        }

        Assert.All(ends, end => Assert.True(end is "Done" || Enum.TryParse<JobFailure>(end, out var failure) && failure is not (JobFailure.Internal or JobFailure.ToolMissing or JobFailure.VerificationFailed), string.Join(' ', ends)));
        // Damage that nothing notices would prove nothing.
        Assert.Contains(ends, end => end != "Done");
    }

    private static async Task<string> RunAsync(ToolSet tools, ToolCage cage, string folder)
    {
        try
        {
            var plan = EncodePlan.Create(TwoRungs, await new Prober(tools, cage, Options).ProbeAsync(folder, "master", default), canEncodeHeAacV2: false);
            var encoded = await new Encoder(tools, cage, Options).EncodeAsync(folder, "master", plan, _ => { }, default);
            var verified = await new Verifier(tools, cage, Options).VerifyAsync(folder, "master", plan, encoded, () => true, default);
            Assert.Equal(plan.Renditions.Count, verified.Count);
            return "Done";
        }
        catch (JobException error)
        {
            return error.Failure.ToString();
        }
    }

    /// <summary>One to four of: a bit, a byte of the first kilobyte, a number of the header, a piece cut out, a piece twice, the end gone.</summary>
    private static byte[] Damage(byte[] master, Random random)
    {
        var bytes = master.ToList();
        for (var times = random.Next(1, 5); times > 0; times--)
        {
            var at = random.Next(bytes.Count);
            var length = Math.Min(random.Next(1, 400), bytes.Count - at);
            switch (random.Next(6))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at % 1024] = (byte)random.Next(256);
                    break;
                case 2:
                    for (var (i, value) = (at % 100, (byte)random.Next(3)); i < (at % 100) + 4; i++)
                        bytes[i] = value == 2 ? (byte)255 : value;
                    break;
                case 3:
                    bytes.RemoveRange(at, length);
                    break;
                case 4:
                    bytes.InsertRange(at, bytes.GetRange(at, length));
                    break;
                default:
                    var end = Math.Min(bytes.Count, Math.Max(at, 2048));
                    bytes.RemoveRange(end, bytes.Count - end);
                    break;
            }
        }

        return [.. bytes];
    }
}
