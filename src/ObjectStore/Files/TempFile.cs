using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// A file that is being written: locked while its writer lives (flock), so that others can tell it from one that a killed process left.
/// Disposing removes it unless it was committed.
/// </summary>
internal sealed class TempFile : IDisposable
{
    private readonly string _path;
    private bool _committed;

    private TempFile(string path, SafeFileHandle file) => (_path, File, Status) = (path, file, Posix.Status(file));

    public string Name => Path.GetFileName(_path);

    public SafeFileHandle File { get; }

    /// <summary>As of the last stamp.</summary>
    public FileStatus Status { get; private set; }

    /// <summary>False when somebody removed the file behind our back.</summary>
    public bool IsLinked => Posix.Status(File).Links > 0;

    public static TempFile Create(string folder)
    {
        while (true)
        {
            var path = Path.Combine(folder, $"w-{Guid.NewGuid():n}");
            if (KeyLocks.TryLock(path, FileMode.CreateNew) is not { } file)
                continue;

            // Between making the file and locking it, another process that was just opening the store may have taken it for a leftover.
            var temp = new TempFile(path, file);
            if (temp.Status.Links > 0)
                return temp;
            temp.Dispose();
        }
    }

    /// <summary>Sets the time and the record, and syncs all of the file. Returns when a power cut can no longer change it.</summary>
    public void Stamp(DateTime modified, ReadOnlySpan<byte> sha256, string contentType)
    {
        System.IO.File.SetLastWriteTimeUtc(File, modified);
        ObjectRecord.TryWrite(File, modified, sha256, contentType);
        RandomAccess.FlushToDisk(File);
        Status = Posix.Status(File);
    }

    /// <summary>The file has its final name: lets go of it, and of the lock, which would hinder .NET programs that open the object by path.</summary>
    public FileStatus Committed()
    {
        _committed = true;
        File.Dispose();
        return Status;
    }

    public void Dispose()
    {
        // The name goes before the lock: the other way round, a sweep and this could both remove it, harmlessly, but the order costs nothing.
        if (!_committed)
            System.IO.File.Delete(_path);
        File.Dispose();
    }
}
