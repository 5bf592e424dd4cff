using Delivery.Transcoder.Cage;
using Delivery.Transcoder.Encoding;
using Delivery.Transcoder.Ladders;
using Delivery.Transcoder.Probing;
using Delivery.Transcoder.Results;
using Delivery.Transcoder.Tools;
using Delivery.Transcoder.Verification;
using Encoder = Delivery.Transcoder.Encoding.Encoder;

namespace Delivery.Transcoder.Tests.Verification;

/// <summary>Probe, encode and verify with the real tools, and time for a test to lay hands on the files in between.</summary>
internal sealed class Bench : IDisposable
{
    private const string MasterFile = "master";

    private readonly TranscoderOptions _options;
    private readonly ToolSet _tools = ToolSet.Find();
    private readonly ToolCage _cage;

    private Bench(TranscoderOptions options) => (_options, _cage) = (options, new ToolCage(_tools, Isolation.None, TimeProvider.System));

    public string Folder { get; } = Directory.CreateTempSubdirectory("transcoder-tests-").FullName;

    public EncodePlan Plan { get; private set; } = null!;

    public EncodedMaster Encoded { get; private set; } = null!;

    /// <param name="master">The master's bytes.</param>
    /// <param name="rungs">JSON of a ladder's rungs.</param>
    /// <param name="options">The worker's; null: as they come.</param>
    public static async Task<Bench> EncodeAsync(byte[] master, string rungs, TranscoderOptions? options = null)
    {
        var ladder = Ladder.Parse(System.Text.Encoding.UTF8.GetBytes($$"""{"format":1,"name":"test-1","preview":{"seconds":2,"startFraction":0.25,"latestStartSeconds":60,"fadeMilliseconds":100},"rungs":[{{rungs}}]}"""));
        var bench = new Bench(options ?? new TranscoderOptions());
        await File.WriteAllBytesAsync(Path.Combine(bench.Folder, MasterFile), master);
        bench.Plan = EncodePlan.Create(ladder, await new Prober(bench._tools, bench._cage, bench._options).ProbeAsync(bench.Folder, MasterFile, default), false);
        bench.Encoded = await new Encoder(bench._tools, bench._cage, bench._options).EncodeAsync(bench.Folder, MasterFile, bench.Plan, _ => { }, default);
        return bench;
    }

    /// <summary>Verified, and as its manifest says it.</summary>
    public async Task<RenditionSet> DescribeAsync() =>
        RenditionSetBuilder.Build(new string('0', 64), Ladder.Default, "test-1", Plan.Master, Encoded, await VerifyAsync());

    public Task<IReadOnlyList<VerifiedRendition>> VerifyAsync() =>
        new Verifier(_tools, _cage, _options).VerifyAsync(Folder, MasterFile, Plan, Encoded, () => true, default);

    /// <summary>Puts something else in a rendition's place, made by ffmpeg from the master.</summary>
    public async Task ReplaceAsync(int index, params string[] arguments)
    {
        var (exitCode, _, error) = await Tool.RunAsync("ffmpeg", ["-v", "error", "-y", "-i", Path.Combine(Folder, MasterFile), .. arguments, Path.Combine(Folder, Plan.Renditions[index].FileName)]);
        Assert.True(exitCode == 0, error);
    }

    public void Dispose() => Directory.Delete(Folder, recursive: true);
}
