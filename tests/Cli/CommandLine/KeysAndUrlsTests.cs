using System.Text.Json;
using Delivery.Cli.CommandLine;

namespace Delivery.Cli.Tests.CommandLine;

public sealed class KeysAndUrlsTests : IDisposable
{
    private const string Path = "/audio/0123456789abcdef0123456789abcdef01234567.ogg";

    private readonly TempFolder _folder = new();

    private string Ring => System.IO.Path.Combine(_folder.Path, "keys.json");

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task SignedPath_Verifies_AndATamperedOneDoesNot()
    {
        await RunAsync("keys", "new", Ring);
        var (code, url, _) = await RunAsync("sign", Path, "--expires", "5m", "--sid", "s-1", "--keys", Ring);
        Assert.Equal(ExitCode.Ok, code);

        Assert.Equal(ExitCode.Ok, (await RunAsync("verify", url.Trim(), "--keys", Ring)).ExitCode);
        var (tampered, output, _) = await RunAsync("verify", url.Trim().Replace("sid=s-1", "sid=s-2", StringComparison.Ordinal), "--keys", Ring, "--json");
        Assert.Equal(ExitCode.Failed, tampered);
        Assert.Equal("bad_signature", JsonSerializer.Deserialize<JsonElement>(output).GetProperty("verdict").GetString());
    }

    [Fact]
    public async Task ExpiredUrl_IsExplained()
    {
        await RunAsync("keys", "new", Ring);
        var (_, url, _) = await RunAsync("sign", Path, "--expires", "1s", "--keys", Ring);
        var later = DateTimeOffset.UtcNow.AddHours(1).ToUnixTimeSeconds().ToString(System.Globalization.CultureInfo.InvariantCulture);

        var (code, output, _) = await RunAsync("verify", url.Trim(), "--keys", Ring, "--now", later);

        Assert.Equal(ExitCode.Failed, code);
        Assert.Contains("expired", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rotation_KeepsOldUrlsUntilTheOldKeyIsRemoved()
    {
        await RunAsync("keys", "new", Ring);
        var (_, before, _) = await RunAsync("sign", Path, "--keys", Ring);

        Assert.Equal(ExitCode.Ok, (await RunAsync("keys", "add", "k2", "--keys", Ring)).ExitCode);
        Assert.Equal(ExitCode.Ok, (await RunAsync("keys", "use", "k2", "--keys", Ring)).ExitCode);
        var (_, after, _) = await RunAsync("sign", Path, "--keys", Ring);
        Assert.Contains("kid=k2", after, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Ok, (await RunAsync("verify", before.Trim(), "--keys", Ring)).ExitCode);

        Assert.Equal(ExitCode.Ok, (await RunAsync("keys", "remove", "k1", "--keys", Ring)).ExitCode);
        Assert.Contains("unknown_key", (await RunAsync("verify", before.Trim(), "--keys", Ring, "--json")).Output, StringComparison.Ordinal);
        Assert.Equal(ExitCode.Ok, (await RunAsync("verify", after.Trim(), "--keys", Ring)).ExitCode);
    }

    [Fact]
    public async Task KeyCommands_RefuseWhatWouldCutListenersOff()
    {
        await RunAsync("keys", "new", Ring);
        var material = await File.ReadAllTextAsync(Ring, TestContext.Current.CancellationToken);

        Assert.Equal(ExitCode.Usage, (await RunAsync("keys", "new", Ring)).ExitCode);
        Assert.Equal(ExitCode.Usage, (await RunAsync("keys", "remove", "k1", "--keys", Ring)).ExitCode);
        Assert.Equal(ExitCode.Usage, (await RunAsync("keys", "use", "nope", "--keys", Ring)).ExitCode);
        Assert.Equal(ExitCode.Usage, (await RunAsync("keys", "add", "k1", "--keys", Ring)).ExitCode);
        Assert.Equal(ExitCode.Usage, (await RunAsync("keys", "add", "not a kid", "--keys", Ring)).ExitCode);
        Assert.Equal(material, await File.ReadAllTextAsync(Ring, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task KeyRing_IsReadableByItsOwnerOnly_AndItsMaterialIsNeverPrinted()
    {
        var (_, made, _) = await RunAsync("keys", "new", Ring);
        var (_, listed, _) = await RunAsync("keys", "list", "--keys", Ring, "--json");

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Ring));
        var secret = JsonSerializer.Deserialize<JsonElement>(await File.ReadAllTextAsync(Ring, TestContext.Current.CancellationToken)).GetProperty("keys").GetProperty("k1").GetString()!;
        Assert.DoesNotContain(secret, made + listed, StringComparison.Ordinal);
        Assert.Equal("""{"id":"k1","signing":true}""", listed.Trim());
    }

    [Theory]
    [InlineData("{", "not")]
    [InlineData("""{"keys":{"k1":"***"},"signing":"k2"}""", "k2")]
    public async Task BrokenKeyRing_IsNamedWithItsFaults(string json, string expected)
    {
        await File.WriteAllTextAsync(Ring, json, TestContext.Current.CancellationToken);

        var (code, _, errors) = await RunAsync("sign", Path, "--keys", Ring);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains(Ring, errors, StringComparison.Ordinal);
        Assert.Contains(expected, errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("sign")]
    [InlineData("sign", "/audio/../masters/x.wav")]
    [InlineData("sign", "no-slash.ogg")]
    [InlineData("sign", Path, "--kid", "nope")]
    [InlineData("sign", Path, "--ip", "999.1.1.1")]
    [InlineData("sign", Path, "--expires", "forever")]
    [InlineData("sign", Path, "--track", "t")]
    [InlineData("nonsense")]
    public async Task WrongUse_IsExitCode2(params string[] arguments)
    {
        await RunAsync("keys", "new", Ring);

        var (code, _, errors) = await RunAsync([.. arguments, "--keys", Ring]);

        Assert.Equal(ExitCode.Usage, code);
        Assert.NotEmpty(errors);
    }

    [Fact]
    public async Task NothingIsRunning_TheErrorNamesFlagVariableAndFile()
    {
        var (code, _, errors) = await Runs.RunAsync("releases", "--data", _folder.Path);

        Assert.Equal(ExitCode.Usage, code);
        Assert.Contains("--origin", errors, StringComparison.Ordinal);
        Assert.Contains("DELIVERY_ORIGIN", errors, StringComparison.Ordinal);
        Assert.Contains(UpFile.PathIn(_folder.Path), errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task UnreachableOrigin_IsExitCode4()
    {
        var (code, _, errors) = await RunAsync("releases", "--origin", "http://127.0.0.1:1", "--api-key", "dk_x");

        Assert.Equal(ExitCode.Unreachable, code);
        Assert.Contains("http://127.0.0.1:1", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ApiKey_IsMadeWithItsDigest()
    {
        var (code, output, _) = await RunAsync("keys", "api", "--role", "ingest", "playback", "--json");

        Assert.Equal(ExitCode.Ok, code);
        var line = JsonSerializer.Deserialize<JsonElement>(output);
        var digest = Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(System.Text.Encoding.UTF8.GetBytes(line.GetProperty("secret").GetString()!)));
        Assert.Equal(digest, line.GetProperty("sha256").GetString());
    }

    /// <summary>Away from any data folder that happens to be in the working folder.</summary>
    private Task<(int ExitCode, string Output, string Errors)> RunAsync(params string[] arguments) => Runs.RunAsync([.. arguments, "--data", _folder.Path]);
}
