using System.Buffers;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using Delivery.ObjectStore.Files;
using Delivery.ObjectStore.Remote;
using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore;

/// <summary>
/// The File driver: object <c>k</c> is the file <c>{root}/k</c>, byte for byte, so an operator can find, play, verify and mirror it with
/// any tool. Linux, one local file system. Layout, metadata and limits: docs/formats/file-store.md.
/// </summary>
/// <remarks>
/// <code>
/// WriteAsync: 1 refuse ─▶ 2 receive into .store/tmp ─▶ 3 stamp and sync ─▶ 4 lock the key ─▶ 5 judge ─▶ 6 rename ─▶ 7 sync the folders
///             nothing is visible before 6; a kill at any line leaves the old version or the new one, and at most a file in .store/tmp
/// </code>
/// </remarks>
public sealed class FileStore : IObjectStore
{
    /// <summary>The folder below the root that belongs to the driver. No key starts with it.</summary>
    public const string ReservedFolder = ".store";

    /// <summary>Bytes in memory per write: one pooled buffer, large enough that a system call and a hash step cost little beside the copy.</summary>
    public const int CopyBufferSize = 128 * 1024;

    /// <summary>
    /// How often a write starts again because deletes removed its folders meanwhile. Each time takes another delete of the last
    /// object of a folder, between two system calls.
    /// </summary>
    private const int MaxVanishedFolders = 1000;

    private readonly string _rootPath;
    private readonly string _tempPath;
    private readonly SafeFileHandle _root;
    private readonly SafeFileHandle _temp;
    private readonly KeyLocks _locks;
    private readonly int _listingPageSize;

    private FileStore(string rootPath, SafeFileHandle root, SafeFileHandle temp, bool keepsMetadata, TimeSpan lockTimeout, int listingPageSize)
    {
        (_rootPath, _root, _temp, _listingPageSize) = (rootPath, root, temp, listingPageSize);
        _tempPath = TempPath(rootPath);
        _locks = new KeyLocks(Path.Combine(rootPath, ReservedFolder, "locks"), lockTimeout);
        KeepsMetadata = keepsMetadata;
    }

    /// <summary>
    /// Whether the file system keeps extended attributes. Where it does not (tmpfs before Linux 6.6, NFS before 5.9, FAT), the content type comes from
    /// the key's extension and <see cref="ObjectInfo.Sha256"/> is null; everything else is the same.
    /// </summary>
    public bool KeepsMetadata { get; }

    /// <summary>
    /// Opens the store in a folder, and makes the folder when only it is missing (a missing parent is more likely a misspelt path or a disk
    /// that is not mounted). Removes what killed writers left. Any number of processes may have the same root open.
    /// </summary>
    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>: no such folder, no rights, or an unfit file system; the message says which.</exception>
    public static FileStore Open(string root) => Open(root, KeyLocks.DefaultTimeout);

    internal static FileStore Open(string folder, TimeSpan lockTimeout, int listingPageSize = FolderListing.PageSize)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        var path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));
        try
        {
            MakeRoot(path);
            var root = Posix.OpenFolder(path) ?? throw Posix.Failure($"open '{path}'");
            using (FolderPath.OpenOrMake(root, [ReservedFolder, "locks"]))
            using (FolderPath.OpenOrMake(root, [ReservedFolder, "tmp"]))
                RemoveLeftovers(TempPath(path));
            var temp = Posix.OpenFolder(TempPath(path)) ?? throw Posix.Failure($"open '{TempPath(path)}'");
            return new FileStore(path, root, temp, ProbeFileSystem(path, temp), lockTimeout, listingPageSize);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or StoreException { Error: not StoreError.Misconfigured })
        {
            throw new StoreException(StoreError.Misconfigured, $"The folder '{path}' cannot be used as a store: {e.Message}", e);
        }
    }

    public ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var file = OpenObject(key, out var info);
        return new(info);
    }

    public ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var file = OpenObject(key, out var info);
        if (file is null)
            return new((ObjectRead?)null);
        try
        {
            var (offset, length) = range?.Within(info!.Length) ?? (0, info!.Length);
            return new(new ObjectRead(info, offset, length, new FileContent(file, key, info.Version, offset, length)));
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        // 1. Refuse what cannot succeed before the content has been moved; step 5 decides.
        cancellationToken.ThrowIfCancellationRequested();
        if (IsReserved(key))
            throw new StoreException(StoreError.KeyRefused, $"'{key}' lies in '{ReservedFolder}', which a File store keeps for itself.");
        using (OpenObject(key, out var current))
            Judge(key, write.Precondition, current?.Version);

        using var temp = TempFile.Create(_temp, _tempPath);
        try
        {
            // 2. Receive.
            var (length, sha256) = await ReceiveAsync(key, content, temp.File, write, cancellationToken);

            // 3. Stamp and sync: bytes, times and record are on the disk before any name leads to them.
            temp.Stamp(DateTime.UtcNow, Record(sha256, write));

            // 4. From here on the lock's holder is alone with the key.
            using var held = await _locks.HoldAsync(key, cancellationToken);
            return Commit(key, temp, length, sha256, write);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Posix.Failure($"write '{key}'", e);
        }
    }

    public async ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (IsReserved(key))
            return false;
        using var held = await _locks.HoldAsync(key, cancellationToken);
        var (folders, name) = Split(key);
        using var path = FolderPath.Open(_root, folders);
        if (path is null || Posix.Status(path.Folder, name) is not { Kind: FileKind.File })
            return false;
        if (!Posix.RemoveFile(path.Folder, name))
            return Posix.LastError == Posix.ENOENT ? false : throw Posix.Failure($"delete '{key}'");
        path.Sync();
        path.RemoveEmptyFolders();
        return true;
    }

    public async IAsyncEnumerable<ObjectEntry> ListAsync(
        string prefix, string? startAfter, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Yield(); // A large folder takes a second to read: not on the caller's thread.
        using var entries = new FolderListing(_rootPath, _root, startAfter ?? "", _listingPageSize).Below(prefix).GetEnumerator();
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                if (!entries.MoveNext())
                    yield break;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw Posix.Failure($"list '{prefix}'", e);
            }

            yield return entries.Current;
        }
    }

    /// <summary>Closes the store's folders. What is open of it may be read to its end.</summary>
    public void Dispose()
    {
        _root.Dispose();
        _temp.Dispose();
    }

    private SafeFileHandle? OpenObject(ObjectKey key, out ObjectInfo? info)
    {
        info = null;
        if (IsReserved(key))
            return null;
        var (folders, name) = Split(key);
        using var path = FolderPath.Open(_root, folders);
        if (path is null)
            return null;
        var file = Posix.OpenFile(path.Folder, name);
        if (file is null)
            return Posix.LastError is Posix.ENOENT or Posix.ENOTDIR or Posix.ELOOP or Posix.ENXIO ? null : throw Posix.Failure($"open '{key}'");
        try
        {
            var status = Posix.Status(file);
            if (status.Kind != FileKind.File)
            {
                file.Dispose();
                return null;
            }

            var record = ObjectRecord.Read(file, status.Modified, name);
            info = new ObjectInfo(key, status.Length, status.Version, record.ContentType, record.Sha256, status.Modified);
            return file;
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private static async ValueTask<(long Length, string Sha256)> ReceiveAsync(
        ObjectKey key, Stream content, SafeFileHandle file, ObjectWrite write, CancellationToken cancellationToken)
    {
        using var reader = new ContentReader(key, content, write);
        var buffer = ArrayPool<byte>.Shared.Rent(CopyBufferSize);
        try
        {
            long length = 0;
            int read;
            while ((read = await reader.ReadAsync(buffer.AsMemory(0, CopyBufferSize), cancellationToken)) > 0)
            {
                await RandomAccess.WriteAsync(file, buffer.AsMemory(0, read), length, cancellationToken);
                length += read;
            }

            return (length, reader.Sha256);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private ObjectInfo Commit(ObjectKey key, TempFile temp, long length, string sha256, ObjectWrite write)
    {
        var (folders, name) = Split(key);
        for (var attempt = 0; attempt < MaxVanishedFolders; attempt++)
        {
            using var path = FolderPath.OpenOrMake(_root, folders);
            if (path is null)
                continue;
            var renamed = false;
            try
            {
                // 5. Judge, alone with the key. The new version must be later than the one it replaces (FileStatus.Version).
                var current = Posix.Status(path.Folder, name);
                if (current is { Kind: FileKind.Other })
                    throw new StoreException(StoreError.KeyRefused, $"'{key}' is a link or a device that somebody put there; a File store does not replace it.");
                var replaced = current is { Kind: FileKind.File } ? current : null;
                Judge(key, write.Precondition, replaced?.Version);
                if (replaced is { } old && old.Modified >= temp.Status.Modified)
                    temp.Stamp(old.Modified.AddTicks(1), Record(sha256, write));

                // 6. Rename: the commit. A folder in the way goes if it is empty (a killed or refused write left it).
                renamed = Posix.Rename(_temp, temp.Name, path.Folder, name)
                    || (Posix.LastError == Posix.EISDIR && Posix.RemoveFolder(path.Folder, name) && Posix.Rename(_temp, temp.Name, path.Folder, name));
                if (!renamed)
                {
                    var error = Posix.LastError;
                    if (error == Posix.ENOENT && temp.IsLinked)
                        continue;
                    throw error is Posix.EISDIR or Posix.ENOTEMPTY or Posix.EEXIST
                        ? new StoreException(StoreError.KeyRefused, $"'{key}' is a folder of other objects, so it cannot be an object too in a File store.")
                        : Posix.Failure($"commit '{key}'", error);
                }

                // 7. Sync the folders: now the name survives a power cut too.
                var status = temp.Committed();
                path.Sync();
                var record = Record(sha256, write) ?? ObjectRecord.OfName(name);
                return new ObjectInfo(key, length, status.Version, record.ContentType, record.Sha256, status.Modified);
            }
            finally
            {
                if (!renamed)
                    path.RemoveEmptyFolders();
            }
        }

        throw new StoreException(StoreError.Unavailable, $"The folders of '{key}' were removed {MaxVanishedFolders} times while it was committed.");
    }

    private static void Judge(ObjectKey key, WritePrecondition precondition, string? currentVersion)
    {
        if (precondition.MustBeAbsent && currentVersion is not null)
            throw new StoreException(StoreError.PreconditionFailed, $"'{key}' exists already.");
        if (precondition.MustMatchVersion is { } wanted && wanted != currentVersion)
            throw new StoreException(StoreError.PreconditionFailed, $"'{key}' is {(currentVersion is null ? "absent" : $"version {currentVersion}")}, not version {wanted}.");
    }

    private ObjectRecord? Record(string sha256, ObjectWrite write) =>
        KeepsMetadata ? new ObjectRecord(write.ContentType, sha256) : null;

    private static (string[] Folders, string Name) Split(ObjectKey key)
    {
        var segments = key.Value.Split('/');
        return (segments[..^1], segments[^1]);
    }

    private static string TempPath(string rootPath) => Path.Combine(rootPath, ReservedFolder, "tmp");

    private static bool IsReserved(ObjectKey key) => IsReserved(key.Value);

    internal static bool IsReserved(string text) =>
        text.StartsWith(ReservedFolder, StringComparison.Ordinal) && (text.Length == ReservedFolder.Length || text[ReservedFolder.Length] == '/');

    private static void MakeRoot(string path)
    {
        if (Directory.Exists(path))
            return;
        var above = Path.GetDirectoryName(path);
        if (!Directory.Exists(above))
            throw new StoreException(StoreError.Misconfigured, $"The store's folder '{path}' does not exist, nor does the folder above it.");
        Directory.CreateDirectory(path);
        using var folder = Posix.OpenFolder(above) ?? throw Posix.Failure($"open '{above}'");
        RandomAccess.FlushToDisk(folder);
    }

    /// <summary>
    /// A temporary file that nobody holds the lock of has lost its writer. Taking that lock first means that a live upload is never removed,
    /// whichever process it belongs to.
    /// </summary>
    private static void RemoveLeftovers(string tempPath)
    {
        foreach (var path in Directory.EnumerateFiles(tempPath))
        {
            using var file = KeyLocks.TryLock(path, FileMode.Open);
            if (file is not null)
                File.Delete(path);
        }
    }

    /// <summary>Refuses file systems on which the promises would not hold; tells whether extended attributes are kept.</summary>
    private static bool ProbeFileSystem(string path, SafeFileHandle temp)
    {
        using var probe = TempFile.Create(temp, TempPath(path));
        if (Posix.Status(temp, probe.Name.ToUpperInvariant()) is not null)
            throw new StoreException(StoreError.Misconfigured, $"The file system of '{path}' takes upper and lower case for the same; keys that differ only in case would be one object.");
        var odd = DateTime.UnixEpoch.AddTicks(12_345_678_901_234_567);
        File.SetLastWriteTimeUtc(probe.File, odd);
        if (Posix.Status(probe.File).Modified != odd)
            throw new StoreException(StoreError.Misconfigured, $"The file system of '{path}' does not keep times to 100 ns; versions of objects would not be unique.");
        return new ObjectRecord("audio/ogg", new string('0', 2 * SHA256.HashSizeInBytes)).TryWrite(probe.File, odd);
    }
}
