using System.Text;

namespace Delivery.TokenAuth.Tests;

public sealed class VectorTests
{
    private static readonly VectorFile File = VectorFile.Parse(System.IO.File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "Vectors", "signed-urls.json")));

    public static TheoryData<string> Names => [.. File.Vectors.Select(vector => vector.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public void EveryVector_HasItsVerdict(string name)
    {
        var outcome = File.Run().Single(outcome => outcome.Vector.Name == name);
        Assert.Equal(outcome.Vector.Verdict, outcome.Actual);
        Assert.True(outcome.Passed);
    }

    [Fact]
    public void Vectors_ReachEveryVerdict()
    {
        var reached = File.Vectors.Select(vector => vector.Verdict).Distinct().Order();
        Assert.Equal(Enum.GetValues<TokenVerdict>().Select(verdict => verdict.ToWire()).Order(), reached);
    }

    [Fact]
    public void WrongVerdictInFile_IsReportedAsFailed()
    {
        var text = System.IO.File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Vectors", "signed-urls.json"));
        var at = text.IndexOf("\"valid\"", StringComparison.Ordinal);
        var changed = string.Concat(text.AsSpan(0, at), "\"expired\"", text.AsSpan(at + 7));
        var failed = Assert.Single(VectorFile.Parse(Encoding.UTF8.GetBytes(changed)).Run(), outcome => !outcome.Passed);
        Assert.Equal("valid", failed.Actual);
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("{}")]
    [InlineData("""{"keys":{"":"AA=="},"vectors":[]}""")]
    [InlineData("""{"keys":{"":"AA=="},"vectors":[null]}""")]
    [InlineData("""{"keys":{"":"AA=="},"vectors":[{"name":"x"}]}""")]
    [InlineData("""{"keys":{"":"AA=="},"vectors":[{"name":"x","url":null,"now":1,"verdict":"valid"}]}""")]
    public void NotAVectorFile_FormatException(string json) => Assert.Throws<FormatException>(() => VectorFile.Parse(Encoding.UTF8.GetBytes(json)));

    [Fact]
    public void BadKeysInVectorFile_KeyRingException() =>
        Assert.Throws<KeyRingException>(() => VectorFile.Parse("""{"keys":{"":"?"},"vectors":[{"name":"x","url":"/","now":1,"verdict":"valid"}]}"""u8));
}
