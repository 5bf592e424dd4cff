namespace Delivery.Edge.Cache.Segments;

/// <summary>
/// One flat folder of files. <see cref="LocalDisk"/> is the real one; the other is the tests' disk, which fails, stalls and loses power. Thread-safe.
/// </summary>
/// <remarks>Whatever the disk refuses is an <see cref="IOException"/>; <see cref="DiskErrors.Of"/> tells what kind.</remarks>
internal interface ICacheDisk
{
    /// <summary>Names of the files, in no order.</summary>
    IReadOnlyList<string> List();

    /// <exception cref="FileNotFoundException">There is none.</exception>
    ICacheFile Open(string name, bool write);

    /// <summary>Makes a file, to read and write. It must not exist.</summary>
    ICacheFile Create(string name);

    /// <summary>Removes the name; open handles stay readable. A name that is not there is no error.</summary>
    void Delete(string name);

    /// <summary>Takes the place of what <paramref name="to"/> named, in one step.</summary>
    void Rename(string from, string to);

    /// <summary>Makes what was created, deleted and renamed durable.</summary>
    void SyncFolder();
}

/// <summary>An open file. Reads and writes at different places may run at the same time; closing it waits for none of them and hurts none; later calls throw
/// <see cref="ObjectDisposedException"/>.</summary>
internal interface ICacheFile : IDisposable
{
    long Length { get; }

    /// <summary>Reads until the destination is full or the file ends; returns the bytes read. May block for as long as the disk does.</summary>
    int Read(long offset, Span<byte> destination);

    /// <summary>
    /// Reads one range into up to three buffers if all of it is in memory. Never waits for the disk, never throws for it. False: it was not there, or this disk cannot tell;
    /// the buffers may have been written to.
    /// </summary>
    bool TryReadCached(long offset, Span<byte> first, Span<byte> second, Span<byte> third);

    /// <summary>Writes all of it, or throws; then a part may have been written.</summary>
    void Write(long offset, ReadOnlySpan<byte> bytes);

    /// <summary>
    /// Makes the file's bytes and length durable. After a failure the system may have dropped what it could not write and report success
    /// next time, so what was written since the last success must be written again.
    /// </summary>
    void Sync();

    void Truncate(long length);
}

/// <summary>What a disk's refusal means for the cache.</summary>
internal enum DiskError
{
    /// <summary>EIO and everything else: nothing is known.</summary>
    Failed,

    /// <summary>No room for these bytes (ENOSPC, EDQUOT, EFBIG): reads work, writes may again.</summary>
    Full,

    /// <summary>Not to be written (EROFS, EACCES, EPERM): reads may work.</summary>
    ReadOnly,
}

internal static class DiskErrors
{
    internal const int EPERM = 1, EIO = 5, ENXIO = 6, EACCES = 13, ENODEV = 19, EFBIG = 27, ENOSPC = 28, EROFS = 30, ESTALE = 116, EUCLEAN = 117, EDQUOT = 122;

    /// <summary>The device or its file system, as against a wrong name, a file in the folder's place, or somebody else's folder.</summary>
    public static bool IsOfTheDisk(IOException exception) => exception.HResult is EIO or ENXIO or ENODEV or ENOSPC or EROFS or EDQUOT or ESTALE or EUCLEAN;

    /// <summary>The errno stands in HResult, ours and the base class library's alike.</summary>
    public static DiskError Of(IOException exception) => exception.HResult switch
    {
        ENOSPC or EDQUOT or EFBIG => DiskError.Full,
        EROFS or EACCES or EPERM => DiskError.ReadOnly,
        _ => DiskError.Failed,
    };
}
