using Delivery.Fuzz;

namespace Delivery.TokenAuth.Tests;

public sealed class FuzzTests
{
    [Theory]
    [InlineData("token-verify", "bad_signature,expired,malformed,missing,not_yet_valid,unknown_key,valid,wrong_scope")]
    [InlineData("request-target", "accepted,accepted with escapes,refused")]
    [InlineData("key-ring", "not JSON,read,refused")]
    public void Target_CorpusAndMutations_HoldTheOracle(string name, string outcomes)
    {
        const int Seed = 20261121;
        var target = FuzzTarget.All.Single(target => target.Name == name);
        var corpus = Fuzzer.Load(Path.Combine(AppContext.BaseDirectory, "Corpus", name));
        Assert.NotEmpty(corpus);
        var report = new Fuzzer(target, corpus, Seed).Run(iterations => iterations < 20_000);
        Assert.True(report.Finding is null, report.Finding is { } finding ? $"seed {Seed}: {Convert.ToHexString(finding.Input)}\n{finding.Failure}" : "");
        Assert.Equal(20_000, report.Iterations);
        Assert.Equal(outcomes, string.Join(',', report.Outcomes.Keys));
    }

    // The oracle must be able to say no: a target that lies is found.
    [Fact]
    public void BrokenTarget_IsFound()
    {
        var report = new Fuzzer(new Broken(), ["ab"u8.ToArray()], 1).Run(iterations => iterations < 20_000);
        Assert.IsType<OracleException>(report.Finding?.Failure);
        Assert.Contains((byte)'!', report.Finding!.Input);
    }

    private sealed class Broken : FuzzTarget
    {
        public override string Name => "broken";

        public override IReadOnlyList<string> Dictionary => ["!"];

        public override string Run(ReadOnlySpan<byte> input)
        {
            Require(!input.Contains((byte)'!'), "broken");
            return "fine";
        }
    }
}
