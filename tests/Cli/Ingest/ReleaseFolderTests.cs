using Delivery.Cli.CommandLine;
using Delivery.Cli.Ingest;

namespace Delivery.Cli.Tests.Ingest;

public sealed class ReleaseFolderTests : IDisposable
{
    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void NoDescription_FileNamesGiveOrderAndTitles()
    {
        _folder.File("10 Last.flac");
        _folder.File("2. Middle - live.wav");
        _folder.File("01_First.AIFF");
        _folder.File("cover.jpg");

        var release = ReleaseFolder.Read(_folder.Path, "r1");

        Assert.Equal(["First", "Middle - live", "Last"], release.Tracks.Select(track => track.Title));
        Assert.Equal(["r1-1", "r1-2", "r1-10"], release.Tracks.Select(track => track.TrackId));
        Assert.Equal(["audio/aiff", "audio/wav", "audio/flac"], release.Tracks.Select(track => track.ContentType));
        Assert.Equal([1, 2, 10], release.Document["tracks"]!.AsArray().Select(track => (int)track!["number"]!));
    }

    [Fact]
    public void NumberMissingOrTwice_PositionsDecide()
    {
        _folder.File("05 A.wav");
        _folder.File("05 B.wav");
        _folder.File("C.wav");

        var release = ReleaseFolder.Read(_folder.Path, "r1");

        Assert.Equal(["r1-1 A", "r1-2 B", "r1-3 C"], release.Tracks.Select(track => $"{track.TrackId} {track.Title}"));
    }

    [Fact]
    public void TrackThatArrivesLater_LeavesTheOthersTheirIds()
    {
        _folder.File("02 B.wav");
        var before = ReleaseFolder.Read(_folder.Path, "r1").Tracks.Single().TrackId;
        _folder.File("01 A.wav");

        Assert.Equal(before, ReleaseFolder.Read(_folder.Path, "r1").Tracks.Single(track => track.Title == "B").TrackId);
    }

    [Fact]
    public void NoDescriptionAndNoId_SaysWhatToGive()
    {
        _folder.File("01 A.wav");

        var refusal = Assert.Throws<CliException>(() => ReleaseFolder.Read(_folder.Path, null));

        Assert.Equal(ExitCode.Usage, refusal.ExitCode);
        Assert.Contains("--release ID", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Description_IsPassedOnWithoutWhatOnlyTheFolderMeans()
    {
        _folder.File("a.wav");
        _folder.File("release.json", """{"id":"r2","title":"T","label":"L","tracks":[{"title":"A","file":"a.wav","isrc":"SEXX12600001"}]}""");

        var release = ReleaseFolder.Read(_folder.Path, null);

        Assert.Equal("r2", release.ReleaseId);
        Assert.Equal("""{"title":"T","label":"L","tracks":[{"title":"A","isrc":"SEXX12600001","id":"r2-1","number":1}]}""", release.Document.ToJsonString());
        Assert.Equal(Path.Combine(_folder.Path, "a.wav"), Assert.Single(release.Tracks).File);
    }

    [Fact]
    public void DescriptionWithManyFaults_NamesThemAll()
    {
        _folder.File("release.json", """{"title":"T","tracks":[{"title":"A"},{"title":"B","file":"gone.wav"},{"title":"C","file":"../../etc/passwd"},7]}""");

        var refusal = Assert.Throws<CliException>(() => ReleaseFolder.Read(_folder.Path, null));

        Assert.Contains("no \"id\"", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("tracks[0] has no \"file\"", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("tracks[1].file 'gone.wav' does not exist", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("tracks[2].file '../../etc/passwd' is not a file name in the folder", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("tracks[3] is not an object", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"tracks\":", "not valid JSON")]
    [InlineData("{\"id\":\"r\",\"id\":\"s\",\"tracks\":[]}", "Duplicate property 'id'")]
    [InlineData("[]", "not a JSON object")]
    [InlineData("{\"id\":\"r\",\"tracks\":{}}", "no \"tracks\"")]
    public void BrokenDescription_IsAUsageError(string json, string expected)
    {
        _folder.File("release.json", json);

        var refusal = Assert.Throws<CliException>(() => ReleaseFolder.Read(_folder.Path, null));

        Assert.Equal(ExitCode.Usage, refusal.ExitCode);
        Assert.Contains(expected, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void EmptyOrMissingFolder_IsAUsageError()
    {
        Assert.Contains("holds no masters", Assert.Throws<CliException>(() => ReleaseFolder.Read(_folder.Path, "r")).Message, StringComparison.Ordinal);
        Assert.Contains("there is no folder", Assert.Throws<CliException>(() => ReleaseFolder.Read(Path.Combine(_folder.Path, "x"), "r")).Message, StringComparison.Ordinal);
    }
}
