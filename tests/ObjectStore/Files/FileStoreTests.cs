using System.Diagnostics;
using System.Text;

namespace Delivery.ObjectStore.Files;

/// <summary>What is true of the File driver alone: what operators see, and what file systems do.</summary>
public sealed class FileStoreTests : IDisposable
{
    private static readonly ObjectKey Song = ObjectKey.Parse("audio/song.ogg");

    private readonly TempFolder _folder = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task Object_IsTheFileItself_AndNothingElseStaysBehind()
    {
        var store = FileStore.Open(_folder.Path);
        var bytes = TestContent.Bytes(100_000, 1);
        await store.PutAsync(Song, bytes);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(_folder["audio/song.ogg"], Token));
        Assert.Empty(Directory.GetFileSystemEntries(_folder[".store/tmp"]));

        await store.DeleteAsync(Song, Token);
        Assert.Equal([".store"], Directory.GetFileSystemEntries(_folder.Path).Select(Path.GetFileName));
    }

    [Fact]
    public void Open_OnThisMachine_KeepsMetadata() => Assert.True(FileStore.Open(_folder.Path).KeepsMetadata);

    [Fact]
    public async Task FileDroppedInByHand_IsAnObject()
    {
        var store = FileStore.Open(_folder.Path);
        Directory.CreateDirectory(_folder["audio"]);
        await File.WriteAllTextAsync(_folder["audio/song.ogg"], "by hand", Token);
        var (info, bytes) = (await store.GetAsync(Song))!.Value;
        Assert.Equal("by hand", Encoding.UTF8.GetString(bytes));
        Assert.Equal((7L, "audio/ogg", null), (info.Length, info.ContentType, info.Sha256));
        Assert.Equal(info.Version, Assert.Single(await store.EntriesAsync()).Version);
        await TestContent.FailsAsync(StoreError.PreconditionFailed, async () => await store.PutAsync(Song, [1], WritePrecondition.Absent));
        await store.PutAsync(Song, [1], WritePrecondition.Version(info.Version));
    }

    [Fact]
    public async Task FileEditedInPlace_LosesItsDigestAndVersion_NotItsBytes()
    {
        var store = FileStore.Open(_folder.Path);
        var written = await store.PutAsync(Song, [1, 2, 3]);
        Assert.NotNull(written.Sha256);
        await File.AppendAllTextAsync(_folder["audio/song.ogg"], "more", Token);
        var info = (await store.FindAsync(Song, Token))!;
        Assert.Equal((7L, null), (info.Length, info.Sha256));
        Assert.NotEqual(written.Version, info.Version);
    }

    [Theory]
    [InlineData("cp -a {0} {1}", true)]
    [InlineData("mkdir {1} && tar -C {0} --xattrs --xattrs-include=user.* -cf - . | tar -C {1} --xattrs --xattrs-include=user.* -xf -", true)]
    [InlineData("cp -r {0} {1}", false)]
    public async Task CopiedStore_KeepsBytes_AndMetadataWhenTheToolCopiesIt(string command, bool keepsMetadata)
    {
        var written = await FileStore.Open(_folder["a"]).WriteAsync(Song, new MemoryStream([1, 2, 3]), new ObjectWrite { ContentType = "audio/odd" }, Token);
        await RunAsync("sh", "-c", string.Format(command, _folder["a"], _folder["b"]));
        var (info, bytes) = (await FileStore.Open(_folder["b"]).GetAsync(Song))!.Value;
        Assert.Equal([1, 2, 3], bytes);
        Assert.Equal(keepsMetadata ? ("audio/odd", written.Sha256) : ("audio/ogg", null), (info.ContentType, info.Sha256));
    }

    [Fact]
    public async Task RewritesAsFastAsPossible_NeverRepeatAVersion_WhateverTheClockSays()
    {
        var store = FileStore.Open(_folder.Path);
        var versions = new HashSet<string>();
        for (var i = 0; i < 100; i++)
        {
            var info = await store.PutAsync(Song, [7]);
            Assert.True(versions.Add(info.Version));
            if (i == 50) // As if the clock had been an hour ahead until now.
                File.SetLastWriteTimeUtc(_folder["audio/song.ogg"], DateTime.UtcNow.AddHours(1));
        }

        Assert.True((await store.FindAsync(Song, Token))!.LastModified > DateTimeOffset.UtcNow.AddMinutes(59));
        Assert.NotNull((await store.FindAsync(Song, Token))!.Sha256);
    }

    [Theory]
    [InlineData(".store")]
    [InlineData(".store/tmp/x")]
    [InlineData(".store/locks/00")]
    public async Task ReservedKey_IsRefused_AndNeverRead(string text)
    {
        var store = FileStore.Open(_folder.Path);
        var key = ObjectKey.Parse(text);
        await File.WriteAllTextAsync(_folder[".store/locks/00"], "", Token);
        await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(key, [1]));
        Assert.Null(await store.FindAsync(key, Token));
        Assert.Null(await store.OpenReadAsync(key, null, Token));
        Assert.False(await store.DeleteAsync(key, Token));
        Assert.Empty(await store.EntriesAsync(".store/"));
        Assert.Empty(await store.EntriesAsync());
        Assert.True(File.Exists(_folder[".store/locks/00"]));
        await store.PutAsync(ObjectKey.Parse(".store2/x"), [1]);
        await store.PutAsync(ObjectKey.Parse("a/.store/x"), [1]);
        Assert.Equal([".store2/x", "a/.store/x"], (await store.EntriesAsync()).Select(e => e.Key.Value));
    }

    [Fact]
    public async Task SymbolicLinks_LeadNowhere()
    {
        var store = FileStore.Open(_folder["root"]);
        Directory.CreateDirectory(_folder["outside"]);
        await File.WriteAllTextAsync(_folder["outside/secret"], "secret", Token);
        Directory.CreateSymbolicLink(_folder["root/out"], _folder["outside"]);
        Directory.CreateSymbolicLink(_folder["root/up"], "..");
        File.CreateSymbolicLink(_folder["root/file"], _folder["outside/secret"]);
        await store.PutAsync(ObjectKey.Parse("in/x"), [1]);
        Directory.CreateSymbolicLink(_folder["root/self"], _folder["root/in"]);

        foreach (var text in new[] { "out/secret", "up/outside/secret", "file", "self/x" })
        {
            var key = ObjectKey.Parse(text);
            Assert.Null(await store.FindAsync(key, Token));
            Assert.Null(await store.OpenReadAsync(key, null, Token));
            Assert.False(await store.DeleteAsync(key, Token));
            await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(key, [9]));
            Assert.Empty(await store.EntriesAsync(text));
        }

        await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(ObjectKey.Parse("out/new"), [9]));
        Assert.Equal(["in/x"], (await store.EntriesAsync()).Select(e => e.Key.Value));
        Assert.Equal(["secret"], Directory.GetFileSystemEntries(_folder["outside"]).Select(Path.GetFileName));
        Assert.Equal("secret", await File.ReadAllTextAsync(_folder["outside/secret"], Token));
    }

    [Fact]
    public async Task Fifo_IsNoObject_AndHangsNobody()
    {
        var store = FileStore.Open(_folder.Path);
        await RunAsync("mkfifo", _folder["pipe"]);
        var key = ObjectKey.Parse("pipe");
        Assert.Null(await Task.Run(async () => await store.OpenReadAsync(key, null, Token), Token).WaitAsync(TimeSpan.FromSeconds(20), Token));
        Assert.Empty(await store.EntriesAsync());
        await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(key, [1]));
    }

    [Fact]
    public async Task ObjectAndFolderOfOneName_AreRefusedWithClearWords()
    {
        var store = FileStore.Open(_folder.Path);
        var (a, ab) = (ObjectKey.Parse("a"), ObjectKey.Parse("a/b"));
        await store.PutAsync(a, [1]);
        Assert.Contains("'a' is an object", (await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(ab, [2]))).Message);
        Assert.Null(await store.FindAsync(ab, Token));
        await store.DeleteAsync(a, Token);
        await store.PutAsync(ab, [2]);
        Assert.Contains("'a' is a folder", (await TestContent.FailsAsync(StoreError.KeyRefused, async () => await store.PutAsync(a, [1]))).Message);
        Assert.Null(await store.FindAsync(a, Token));
        await store.DeleteAsync(ab, Token);
        Directory.CreateDirectory(_folder["a"]); // As a write that was killed before its commit leaves it.
        await store.PutAsync(a, [1]);
        Assert.Equal(["a"], (await store.EntriesAsync()).Select(e => e.Key.Value));
    }

    [Fact]
    public async Task Listing_OfFoldersLargerThanAPage_IsTheSame()
    {
        var store = FileStore.Open(_folder.Path, KeyLocks.DefaultTimeout, listingPageSize: 3);
        var keys = Enumerable.Range(0, 40).Select(i => $"f/{i:D2}").Concat(Enumerable.Range(0, 10).Select(i => $"f/{i:D2}x/y")).Order(StringComparer.Ordinal).ToList();
        foreach (var key in keys)
            await store.PutAsync(ObjectKey.Parse(key), [1]);
        Assert.Equal(keys, (await store.EntriesAsync()).Select(e => e.Key.Value));
        for (var i = 0; i < keys.Count; i++)
            Assert.Equal(keys.Skip(i + 1), (await store.EntriesAsync("f/", keys[i])).Select(e => e.Key.Value));
    }

    [Fact]
    public async Task Listing_PassesOverNamesThatAreNoKeys()
    {
        var store = FileStore.Open(_folder.Path);
        await store.PutAsync(Song, [1]);
        await RunAsync("bash", "-c", $"touch {_folder.Path}/$'bad\\xff' {_folder.Path}/$'tab\\t' {_folder.Path}/'back\\slash'; mkdir {_folder.Path}/empty");
        Assert.Equal([Song], (await store.EntriesAsync()).Select(e => e.Key));
        await RunAsync("sh", "-c", $"rm {_folder.Path}/bad*"); // .NET cannot name it.
    }

    [Fact]
    public void Open_MakesTheFolder_ButNotTheOneAbove()
    {
        FileStore.Open(_folder["new"]);
        Assert.True(Directory.Exists(_folder["new/.store/tmp"]));
        var missing = Assert.Throws<StoreException>(() => FileStore.Open(_folder["no/such"]));
        Assert.Equal(StoreError.Misconfigured, missing.Error);
        Assert.Contains(_folder["no/such"], missing.Message);
        Assert.False(Directory.Exists(_folder["no"]));
        File.WriteAllText(_folder["file"], "");
        Assert.Equal(StoreError.Misconfigured, Assert.Throws<StoreException>(() => FileStore.Open(_folder["file"])).Error);
    }

    [Fact]
    public async Task Open_RemovesWhatTheDeadLeft_NotWhatTheLivingWrite()
    {
        var store = FileStore.Open(_folder.Path);
        await File.WriteAllTextAsync(_folder[".store/tmp/w-left-by-a-killed-process"], "torn", Token);
        var gate = new TaskCompletionSource();
        var content = new ScriptedContent(1_000_000, 50_000) { StallsAtEnd = gate.Task };
        var writing = store.WriteAsync(Song, content, new ObjectWrite { ContentType = "audio/ogg" }, Token).AsTask();
        await content.Reached.Task.WaitAsync(Token);

        var second = FileStore.Open(_folder.Path);
        Assert.Single(Directory.GetFiles(_folder[".store/tmp"]));
        gate.SetResult();
        Assert.Equal(await writing, await second.FindAsync(Song, Token));
        Assert.Empty(Directory.GetFiles(_folder[".store/tmp"]));
    }

    [Fact]
    public async Task LockHeldByAnotherProcess_ForTooLong_IsUnavailable()
    {
        var store = FileStore.Open(_folder.Path, TimeSpan.FromMilliseconds(150));
        var path = Path.Combine(_folder[".store/locks"], $"{KeyLocks.StripeOf(Song):x2}");
        using (KeyLocks.TryLock(path, FileMode.OpenOrCreate))
        {
            Assert.True((await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.PutAsync(Song, [1]))).CanRetry);
            await TestContent.FailsAsync(StoreError.Unavailable, async () => await store.DeleteAsync(Song, Token));
            Assert.Null(await store.FindAsync(Song, Token));
        }

        await store.PutAsync(Song, [1]);
        Assert.Empty(Directory.GetFiles(_folder[".store/tmp"]));
    }

    [Fact]
    public async Task FileCutInPlace_WhileItIsRead_IsCorrupt_NotShort()
    {
        var store = FileStore.Open(_folder.Path);
        await store.PutAsync(Song, TestContent.Bytes(1_000_000, 1));
        await using var read = (await store.OpenReadAsync(Song, null, Token))!;
        await using (var file = File.OpenWrite(_folder["audio/song.ogg"]))
            file.SetLength(1000);
        await TestContent.FailsAsync(StoreError.Corrupt, async () => await read.Content.CopyToAsync(Stream.Null, Token));
    }

    [Fact]
    public async Task FileOverwrittenInPlace_WhileItIsRead_IsCorrupt_NotMixed()
    {
        var store = FileStore.Open(_folder.Path);
        await store.PutAsync(Song, TestContent.Bytes(1_000_000, 1));
        await using var read = (await store.OpenReadAsync(Song, null, Token))!;
        await read.Content.ReadExactlyAsync(new byte[500_000], Token);
        await using (var file = File.OpenWrite(_folder["audio/song.ogg"]))
            await file.WriteAsync(TestContent.Bytes(1_000_000, 2), Token);
        // Set by hand: the kernel's own clock for this may stand still for some milliseconds.
        File.SetLastWriteTimeUtc(_folder["audio/song.ogg"], DateTime.UtcNow.AddSeconds(1));
        await TestContent.FailsAsync(StoreError.Corrupt, async () => await read.Content.CopyToAsync(Stream.Null, Token));
    }

    internal static async Task RunAsync(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        var errors = await process.StandardError.ReadToEndAsync(Token);
        await process.WaitForExitAsync(Token);
        Assert.True(process.ExitCode == 0, $"{program} {string.Join(' ', arguments)}: {errors}");
    }
}
