using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// A file that is being written: locked while its writer lives (flock), so that others can tell it from one that a killed process left.
/// Disposing removes it unless it was committed.
/// </summary>
internal sealed class TempFile : IDisposable
{
    private readonly SafeFileHandle _folder;
    private bool _committed;

    private TempFile(SafeFileHandle folder, string name, SafeFileHandle file) =>
        (_folder, Name, File, Status) = (folder, name, file, Posix.Status(file));

    public string Name { get; }

    public SafeFileHandle File { get; }

    /// <summary>As of the last stamp.</summary>
    public FileStatus Status { get; private set; }

    /// <summary>False when somebody removed the file behind our back.</summary>
    public bool IsLinked => Posix.Status(File).Links > 0;

    public static TempFile Create(SafeFileHandle folder, string path)
    {
        while (true)
        {
            var name = $"w-{Guid.NewGuid():n}";
            if (KeyLocks.TryLock(Path.Combine(path, name), FileMode.CreateNew) is not { } file)
                continue;

            // Between making the file and locking it, another process that was just opening the store may have taken it for a leftover.
            var temp = new TempFile(folder, name, file);
            if (temp.Status.Links > 0)
                return temp;
            temp.Dispose();
        }
    }

    /// <summary>Sets the time and the record, and syncs all of the file. Returns when a power cut can no longer change it.</summary>
    public void Stamp(DateTime modified, ObjectRecord? record)
    {
        System.IO.File.SetLastWriteTimeUtc(File, modified);
        record?.TryWrite(File, modified);
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
        // A name that cannot be removed now (the disk has turned read-only) goes when the store is next opened.
        if (!_committed)
            Posix.RemoveFile(_folder, Name);
        File.Dispose();
    }
}
