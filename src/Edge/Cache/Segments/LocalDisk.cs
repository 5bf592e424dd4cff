using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Edge.Cache.Segments;

/// <summary>A folder of a local file system, for this process alone.</summary>
internal sealed partial class LocalDisk : ICacheDisk, IDisposable
{
    private const string LockName = "lock";
    private const int EINTR = 4, EAGAIN = 11, ENOSYS = 38, EOPNOTSUPP = 95;
    private const int CloseOnExec = 0x80000;
    private const int NoWait = 0x8;

    private readonly string _folder;
    private readonly SafeFileHandle _lock;
    private readonly SafeFileHandle _folderHandle;
    private volatile bool _cannotReadCached;

    private LocalDisk(string folder, SafeFileHandle lockHandle, SafeFileHandle folderHandle)
    {
        _folder = folder;
        _lock = lockHandle;
        _folderHandle = folderHandle;
    }

    /// <summary>False once the system has said that it cannot read from memory only (RWF_NOWAIT); the answer to every such read is "no" then.</summary>
    public bool CanReadCached => !_cannotReadCached;

    /// <summary>Makes the folder (0700) if it is missing, and takes it for this process until <see cref="Dispose"/>.</summary>
    /// <exception cref="IOException">Another process has it, or it cannot be used; the message says which.</exception>
    public static LocalDisk Open(string folder)
    {
        folder = Path.GetFullPath(folder);
        try
        {
            Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
        catch (UnauthorizedAccessException e)
        {
            throw Denied(e);
        }

        var taken = Lock(Path.Combine(folder, LockName));
        var handle = OpenFolder(folder, CloseOnExec);
        if (handle >= 0)
            return new(folder, taken, new(handle, ownsHandle: true));
        var error = LastError($"open the folder '{folder}'");
        taken.Dispose();
        throw error;
    }

    public IReadOnlyList<string> List()
    {
        try
        {
            var ours = new EnumerationOptions { AttributesToSkip = FileAttributes.Directory | FileAttributes.ReparsePoint, IgnoreInaccessible = false };
            return [.. Directory.EnumerateFiles(_folder, "*", ours).Select(p => Path.GetFileName(p)).Where(n => n != LockName)];
        }
        catch (UnauthorizedAccessException e)
        {
            throw Denied(e);
        }
    }

    public ICacheFile Open(string name, bool write) => Open(name, FileMode.Open, write ? FileAccess.ReadWrite : FileAccess.Read);

    public ICacheFile Create(string name) => Open(name, FileMode.CreateNew, FileAccess.ReadWrite);

    public void Delete(string name)
    {
        try
        {
            File.Delete(PathOf(name));
        }
        catch (UnauthorizedAccessException e)
        {
            throw Denied(e);
        }
    }

    public void Rename(string from, string to)
    {
        try
        {
            File.Move(PathOf(from), PathOf(to), overwrite: true);
        }
        catch (UnauthorizedAccessException e)
        {
            throw Denied(e);
        }
    }

    public void SyncFolder()
    {
        while (FSync(_folderHandle) != 0)
        {
            if (Marshal.GetLastPInvokeError() != EINTR)
                throw LastError($"sync the folder '{_folder}'");
        }
    }

    /// <summary>Gives the folder back. Files that are open stay usable.</summary>
    public void Dispose()
    {
        _folderHandle.Dispose();
        _lock.Dispose();
    }

    private static SafeFileHandle Lock(string path)
    {
        try
        {
            // FileShare.None is flock(LOCK_EX | LOCK_NB), which goes with the process, however it ends. The file stays: whoever removed it could remove another's.
            return File.OpenHandle(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (UnauthorizedAccessException e)
        {
            throw Denied(e);
        }
        catch (IOException e) when (e.HResult == EAGAIN)
        {
            throw new IOException($"Another process holds '{path}': a cache folder belongs to one edge.", e);
        }
    }

    private LocalFile Open(string name, FileMode mode, FileAccess access)
    {
        try
        {
            return new(this, name, File.OpenHandle(PathOf(name), mode, access, FileShare.ReadWrite | FileShare.Delete));
        }
        catch (UnauthorizedAccessException e)
        {
            throw Denied(e);
        }
    }

    private string PathOf(string name)
    {
        if (name is "" or "." or ".." or LockName || name.Contains('/', StringComparison.Ordinal))
            throw new ArgumentException($"'{name}' is no name for a file of the cache.", nameof(name));
        return Path.Combine(_folder, name);
    }

    // The base class library has exceptions of its own for these two, and neither is an IOException.
    private static IOException Denied(UnauthorizedAccessException e) =>
        new(e.Message, e.InnerException is IOException { HResult: DiskErrors.EPERM } ? DiskErrors.EPERM : DiskErrors.EACCES);

    private static IOException TooLarge(string name) => new($"'{name}' would become larger than the file system allows.", DiskErrors.EFBIG);

    private static IOException LastError(string action)
    {
        var errno = Marshal.GetLastPInvokeError();
        return new($"Could not {action}: {Marshal.GetPInvokeErrorMessage(errno)}.", errno);
    }

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenFolder(string path, int flags);

    [LibraryImport("libc", EntryPoint = "fsync", SetLastError = true)]
    private static partial int FSync(SafeFileHandle handle);

    [LibraryImport("libc", EntryPoint = "fdatasync", SetLastError = true)]
    private static partial int FDataSync(SafeFileHandle handle);

    [LibraryImport("libc", EntryPoint = "preadv2", SetLastError = true)]
    private static unsafe partial nint PReadV2(SafeFileHandle handle, IoVector* vectors, int count, long offset, int flags);

    [StructLayout(LayoutKind.Sequential)]
    private readonly unsafe struct IoVector(byte* start, nint length)
    {
        public readonly byte* Start = start;
        public readonly nint Length = length;
    }

    private sealed class LocalFile(LocalDisk disk, string name, SafeFileHandle handle) : ICacheFile
    {
        public long Length => RandomAccess.GetLength(handle);

        public int Read(long offset, Span<byte> destination)
        {
            var done = 0;
            while (done < destination.Length)
            {
                var read = RandomAccess.Read(handle, destination[done..], offset + done);
                if (read == 0)
                    break;
                done += read;
            }

            return done;
        }

        public unsafe bool TryReadCached(long offset, Span<byte> first, Span<byte> second, Span<byte> third)
        {
            if (disk._cannotReadCached)
                return false;
            fixed (byte* a = first, b = second, c = third)
            {
                var vectors = stackalloc IoVector[] { new(a, first.Length), new(b, second.Length), new(c, third.Length) };
                try
                {
                    var read = PReadV2(handle, vectors, 3, offset, NoWait);
                    // Pages that are missing end the read early. Any error but the two below is left to the read that may wait: it meets it again and reports it.
                    if (read >= 0)
                        return read == (long)first.Length + second.Length + third.Length;
                    if (Marshal.GetLastPInvokeError() is EOPNOTSUPP or ENOSYS)
                        disk._cannotReadCached = true;
                }
                catch (EntryPointNotFoundException)
                {
                    // musl has preadv2 since 1.2.5.
                    disk._cannotReadCached = true;
                }
            }

            return false;
        }

        public void Write(long offset, ReadOnlySpan<byte> bytes)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(offset);
            try
            {
                // Goes on after short writes and signals until all is written.
                RandomAccess.Write(handle, bytes, offset);
            }
            catch (UnauthorizedAccessException e)
            {
                throw Denied(e);
            }
            catch (ArgumentOutOfRangeException)
            {
                throw TooLarge(name);
            }
        }

        // Not RandomAccess.FlushToDisk: that takes EROFS for success, so a disk that turned read-only would pass for one that keeps what
        // it is given; and it is fsync, which writes the times too.
        public void Sync()
        {
            while (FDataSync(handle) != 0)
            {
                if (Marshal.GetLastPInvokeError() != EINTR)
                    throw LastError($"sync '{name}'");
            }
        }

        public void Truncate(long length)
        {
            try
            {
                RandomAccess.SetLength(handle, length);
            }
            catch (UnauthorizedAccessException e)
            {
                throw Denied(e);
            }
            catch (ArgumentOutOfRangeException)
            {
                throw TooLarge(name);
            }
        }

        public void Dispose() => handle.Dispose();
    }
}
