using System.Runtime.InteropServices;
using Delivery.Edge.Cache.Journal;
using Delivery.Edge.Cache.Segments;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Edge.Tests.Cache.Segments;

public sealed class LocalDiskTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("delivery-cache-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Open_MakesAFolderForItsOwnerAlone()
    {
        var folder = Path.Combine(_folder, "cache");
        using var disk = LocalDisk.Open(folder);
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(folder));
        Assert.Empty(disk.List());
    }

    [Fact]
    public void Open_FolderInUse_IsRefusedUntilItIsGivenBack()
    {
        using (LocalDisk.Open(_folder))
            Assert.Contains("belongs to one edge", Assert.ThrowsAny<IOException>(() => LocalDisk.Open(_folder)).Message, StringComparison.Ordinal);
        LocalDisk.Open(_folder).Dispose();
    }

    [Fact]
    public void Open_NoFolderThereAndNoneCanBeMade_IsAnIOException()
    {
        File.WriteAllText(Path.Combine(_folder, "file"), "");
        Assert.ThrowsAny<IOException>(() => LocalDisk.Open(Path.Combine(_folder, "file")));
        Assert.ThrowsAny<IOException>(() => LocalDisk.Open(Path.Combine(_folder, "file", "below")));
    }

    [Fact]
    public void Files_AreWrittenReadCutRenamedAndDeleted()
    {
        using var disk = LocalDisk.Open(_folder);
        using (var file = disk.Create("a"))
        {
            file.Write(0, [1, 2, 3]);
            file.Write(5, [6]);
            file.Sync();
            Assert.Equal(6, file.Length);
            var bytes = new byte[10];
            Assert.Equal(6, file.Read(0, bytes));
            Assert.Equal([1, 2, 3, 0, 0, 6], bytes[..6]);
            Assert.Equal(0, file.Read(6, bytes));
            Assert.Equal(0, file.Read(600, bytes));
            file.Truncate(2);
            Assert.Equal(2, file.Read(0, bytes));
            Assert.ThrowsAny<IOException>(() => disk.Create("a"));
        }

        Directory.CreateDirectory(Path.Combine(_folder, "folder"));
        File.CreateSymbolicLink(Path.Combine(_folder, "link"), Path.Combine(_folder, "a"));
        disk.Create("b").Dispose();
        Assert.Equal(["a", "b"], disk.List().Order());
        disk.Rename("a", "b");
        disk.SyncFolder();
        Assert.Equal(["b"], disk.List());
        Assert.Throws<FileNotFoundException>(() => disk.Open("a", write: false));
        Assert.ThrowsAny<IOException>(() => disk.Rename("a", "b"));
        using var open = disk.Open("b", write: false);
        Assert.ThrowsAny<IOException>(() => open.Write(0, [1]));
        disk.Delete("b");
        disk.Delete("b");
        Assert.Empty(disk.List());
        // A reader under way keeps what it reads.
        Assert.Equal(2, open.Read(0, new byte[10]));
    }

    [Theory]
    [InlineData("")]
    [InlineData(".")]
    [InlineData("..")]
    [InlineData("lock")]
    [InlineData("a/b")]
    [InlineData("/etc/passwd")]
    public void Names_ThatAreNotPlain_AreRefused(string name)
    {
        using var disk = LocalDisk.Open(_folder);
        Assert.Throws<ArgumentException>(() => disk.Open(name, write: false));
        Assert.Throws<ArgumentException>(() => disk.Create(name));
        Assert.Throws<ArgumentException>(() => disk.Delete(name));
        Assert.Throws<ArgumentException>(() => disk.Rename("a", name));
    }

    [Fact]
    public void TryReadCached_ScattersWhatIsInMemory()
    {
        using var disk = LocalDisk.Open(_folder);
        using var file = disk.Create("a");
        var content = new byte[300_000];
        new Random(1).NextBytes(content);
        file.Write(0, content);
        byte[] first = new byte[92], second = new byte[16_384], third = new byte[70_000];
        var read = file.TryReadCached(1234, first, second, third);
        // Some file systems cannot tell; then the answer is always no.
        Assert.Equal(disk.CanReadCached, read);
        if (read)
            Assert.True(content.AsSpan(1234, 92 + 16_384 + 70_000).SequenceEqual([.. first, .. second, .. third]));
        Assert.Equal(read, file.TryReadCached(300_000 - 92, first, default, default));
        Assert.Equal(read, file.TryReadCached(1234, default, second, default));
        // Past the end, even by a byte.
        Assert.False(file.TryReadCached(300_000 - 91, first, default, default));
        Assert.False(file.TryReadCached(300_000 - 92, first, new byte[1], default));
        Assert.False(file.TryReadCached(400_000, default, default, first));
    }

    [Fact]
    public void TryReadCached_NotInMemory_IsANoAndTheOtherReadGetsIt()
    {
        using var disk = LocalDisk.Open(_folder);
        using var file = disk.Create("a");
        var content = new byte[1 << 20];
        new Random(2).NextBytes(content);
        file.Write(0, content);
        file.Sync();
        using (var handle = File.OpenHandle(Path.Combine(_folder, "a"), share: FileShare.ReadWrite))
            Assert.Equal(0, Advise(handle, 0, 0, 4));
        var bytes = new byte[content.Length];
        Assert.False(file.TryReadCached(0, bytes, default, default));
        Assert.Equal(bytes.Length, file.Read(0, bytes));
        Assert.Equal(content, bytes);
        Assert.Equal(disk.CanReadCached, file.TryReadCached(0, bytes, default, default));
    }

    [Fact]
    public async Task Close_WhileOthersRead_HurtsNobody()
    {
        using var disk = LocalDisk.Open(_folder);
        var content = new byte[200_000];
        new Random(3).NextBytes(content);
        using (var file = disk.Create("a"))
            file.Write(0, content);
        for (var round = 0; round < 8; round++)
        {
            var file = disk.Open("a", write: false);
            var started = 0;
            // Threads of their own: the pool's may all be busy with other tests.
            var readers = Enumerable.Range(0, 3).Select(i => Task.Factory.StartNew(() =>
            {
                var bytes = new byte[100_000];
                Interlocked.Increment(ref started);
                try
                {
                    for (; ; )
                    {
                        if (i % 2 == 0 ? file.TryReadCached(i, bytes, default, default) : file.Read(i, bytes) == bytes.Length)
                            Assert.True(bytes.AsSpan().SequenceEqual(content.AsSpan(i, bytes.Length)));
                        else
                            Assert.False(i % 2 == 1 || disk.CanReadCached);
                    }
                }
                catch (ObjectDisposedException)
                {
                }
            }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)).ToArray();
            Assert.True(SpinWait.SpinUntil(() => Volatile.Read(ref started) == 3, TimeSpan.FromSeconds(30)));
            file.Dispose();
            await Task.WhenAll(readers).WaitAsync(TimeSpan.FromSeconds(30));
        }
    }

    [Fact]
    public void Errors_AreToldApart()
    {
        using var disk = LocalDisk.Open(_folder);
        using var file = disk.Create("a");
        // EFBIG of the file system, which the base class library reports as an argument out of range.
        Assert.Equal(DiskError.Full, DiskErrors.Of(Assert.ThrowsAny<IOException>(() => file.Write(1L << 60, [1]))));
        Assert.Equal(DiskError.Full, DiskErrors.Of(Assert.ThrowsAny<IOException>(() => file.Truncate(1L << 62))));
        Assert.Equal(DiskError.Failed, DiskErrors.Of(Assert.ThrowsAny<IOException>(() => disk.Open("b", write: true))));
        using var full = File.OpenHandle("/dev/full", FileMode.Open, FileAccess.Write, FileShare.ReadWrite);
        Assert.Equal(DiskError.Full, DiskErrors.Of(Assert.ThrowsAny<IOException>(() => RandomAccess.Write(full, [1], 0))));
        using var reader = disk.Open("a", write: false);
        // EBADF, which the base class library reports as denied.
        Assert.Equal(DiskError.ReadOnly, DiskErrors.Of(Assert.ThrowsAny<IOException>(() => reader.Write(0, [1]))));
    }

    [Theory]
    [InlineData(28, (int)DiskError.Full)]
    [InlineData(122, (int)DiskError.Full)]
    [InlineData(27, (int)DiskError.Full)]
    [InlineData(30, (int)DiskError.ReadOnly)]
    [InlineData(13, (int)DiskError.ReadOnly)]
    [InlineData(1, (int)DiskError.ReadOnly)]
    [InlineData(5, (int)DiskError.Failed)]
    [InlineData(116, (int)DiskError.Failed)]
    public void Errnos_MeanThis(int errno, int error) => Assert.Equal((DiskError)error, DiskErrors.Of(new("", errno)));

    [Fact]
    public void Journal_OnARealDisk_IsThereAgain()
    {
        using (var disk = LocalDisk.Open(_folder))
        {
            using var journal = CacheJournal.Open(disk, TimeProvider.System, out var fresh);
            Assert.True(fresh);
            journal.Purge(CacheGolden.PurgedPath, 5);
        }

        using var again = LocalDisk.Open(_folder);
        using var same = CacheJournal.Open(again, TimeProvider.System, out var freshAgain);
        Assert.False(freshAgain);
        Assert.Equal(5, same.GenerationOf(CacheGolden.PurgedPath));
        Assert.Equal([CacheJournal.FileName], again.List());
    }

    [DllImport("libc", EntryPoint = "posix_fadvise")]
    private static extern int Advise(SafeFileHandle file, long offset, long length, int advice);
}
