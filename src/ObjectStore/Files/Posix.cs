using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// The Linux calls that .NET does not offer: names relative to an open folder, never through a symbolic link; extended attributes; rename
/// and inode numbers. Every name given here is one segment, so O_NOFOLLOW alone keeps a walk below the root.
/// </summary>
internal static partial class Posix
{
    public const int EPERM = 1, ENOENT = 2, ENXIO = 6, EACCES = 13, EEXIST = 17, EXDEV = 18, ENOTDIR = 20, EISDIR = 21, ENOSPC = 28, EROFS = 30, ENOTEMPTY = 39, ELOOP = 40, ENOTSUP = 95, EDQUOT = 122;

    private const int Nonblock = 0x800, CloseOnExec = 0x80000;
    private const int AtSymlinkNofollow = 0x100, AtRemoveFolder = 0x200, AtEmptyPath = 0x1000;
    private const uint StatxBasicStats = 0x7ff;

    // The two flags have other values on ARM (include/uapi/asm/fcntl.h).
    private static readonly (int Folder, int Nofollow) Flags = RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => (0x10000, 0x20000),
        Architecture.Arm64 => (0x4000, 0x8000),
        var other => throw new PlatformNotSupportedException($"The File driver runs on Linux on x64 and Arm64, not on {other}."),
    };

    /// <summary>Opens a folder inside another; null with <see cref="LastError"/> set when that fails (ENOTDIR also for a symbolic link).</summary>
    public static SafeFileHandle? OpenFolder(SafeFileHandle folder, string name) =>
        Handle(OpenAt(folder, name, CloseOnExec | Flags.Folder | Flags.Nofollow));

    /// <summary>Opens a folder by path, through whatever symbolic links the operator has put there.</summary>
    public static SafeFileHandle? OpenFolder(string path) => Handle(Open(path, CloseOnExec | Flags.Folder));

    /// <summary>Opens a file of a folder for reading. O_NONBLOCK: a FIFO that somebody left there must not hang us; it changes nothing for files.</summary>
    public static SafeFileHandle? OpenFile(SafeFileHandle folder, string name) =>
        Handle(OpenAt(folder, name, CloseOnExec | Nonblock | Flags.Nofollow));

    public static bool MakeFolder(SafeFileHandle folder, string name) => MakeFolderAt(folder, name, 0b111_111_111) == 0;

    public static bool Rename(SafeFileHandle fromFolder, string from, SafeFileHandle toFolder, string to) => RenameAt(fromFolder, from, toFolder, to) == 0;

    public static bool RemoveFile(SafeFileHandle folder, string name) => UnlinkAt(folder, name, 0) == 0;

    /// <summary>Removes a folder if it is empty.</summary>
    public static bool RemoveFolder(SafeFileHandle folder, string name) => UnlinkAt(folder, name, AtRemoveFolder) == 0;

    public static FileStatus Status(SafeFileHandle file) =>
        Statx(file, "", AtEmptyPath, StatxBasicStats, out var raw) == 0 ? FileStatus.From(raw) : throw Failure("look at an open file");

    /// <summary>The status of a name, not of what a symbolic link there points to; null when there is nothing.</summary>
    public static FileStatus? Status(SafeFileHandle folder, string name) =>
        Statx(folder, name, AtSymlinkNofollow, StatxBasicStats, out var raw) == 0 ? FileStatus.From(raw)
            : LastError == ENOENT ? null : throw Failure($"look at '{name}'");

    public static bool SetAttribute(SafeFileHandle file, string name, ReadOnlySpan<byte> value) => FSetXattr(file, name, value, value.Length, 0) == 0;

    /// <summary>Reads an extended attribute; -1 when it is absent, larger than the buffer, or unknown to the file system.</summary>
    public static int GetAttribute(SafeFileHandle file, string name, Span<byte> value) => (int)FGetXattr(file, name, value, value.Length);

    public static int LastError => Marshal.GetLastPInvokeError();

    /// <summary>The typed error of the last failed call here.</summary>
    public static StoreException Failure(string action) => Failure(action, LastError);

    public static StoreException Failure(string action, int errno) => Failure(action, errno, null);

    /// <summary>The typed error of a failed call of the base class library, which keeps the errno in HResult (ENOSPC and others) or in the type.</summary>
    public static StoreException Failure(string action, Exception exception) =>
        Failure(action, exception switch { UnauthorizedAccessException => EACCES, DirectoryNotFoundException => ENOTDIR, _ => exception.HResult }, exception);

    private static StoreException Failure(string action, int errno, Exception? inner) => new(
        errno switch
        {
            ENOSPC or EDQUOT => StoreError.Full,
            EACCES or EPERM or EROFS => StoreError.Denied,
            EXDEV or ENOTDIR => StoreError.Misconfigured,
            _ => StoreError.Unavailable,
        },
        $"Could not {action}: {inner?.Message ?? Marshal.GetPInvokeErrorMessage(errno)}{(errno == EXDEV ? " (the store must be one file system)" : "")}.",
        inner);

    private static SafeFileHandle? Handle(int descriptor) => descriptor < 0 ? null : new SafeFileHandle(descriptor, ownsHandle: true);

    [LibraryImport("libc", EntryPoint = "open", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Open(string path, int flags);

    [LibraryImport("libc", EntryPoint = "openat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int OpenAt(SafeFileHandle folder, string name, int flags);

    [LibraryImport("libc", EntryPoint = "mkdirat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MakeFolderAt(SafeFileHandle folder, string name, uint mode);

    [LibraryImport("libc", EntryPoint = "renameat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int RenameAt(SafeFileHandle fromFolder, string from, SafeFileHandle toFolder, string to);

    [LibraryImport("libc", EntryPoint = "unlinkat", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int UnlinkAt(SafeFileHandle folder, string name, int flags);

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(SafeFileHandle folder, string name, int flags, uint mask, out StatxBuffer buffer);

    [LibraryImport("libc", EntryPoint = "fsetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int FSetXattr(SafeFileHandle file, string name, ReadOnlySpan<byte> value, nint size, int flags);

    [LibraryImport("libc", EntryPoint = "fgetxattr", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint FGetXattr(SafeFileHandle file, string name, Span<byte> value, nint size);

    /// <summary>struct statx (include/uapi/linux/stat.h), the same on every architecture.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    internal struct StatxBuffer
    {
        [FieldOffset(16)] public uint Links;
        [FieldOffset(28)] public ushort Mode;
        [FieldOffset(32)] public ulong Inode;
        [FieldOffset(40)] public long Size;
        [FieldOffset(112)] public long ModifiedSeconds;
        [FieldOffset(120)] public uint ModifiedNanoseconds;
    }
}

/// <summary>What the file system says of a name.</summary>
internal readonly record struct FileStatus(FileKind Kind, long Length, ulong Inode, uint Links, long ModifiedSeconds, uint ModifiedNanoseconds)
{
    private const ushort TypeMask = 0xF000, TypeFolder = 0x4000, TypeFile = 0x8000;

    public static FileStatus From(in Posix.StatxBuffer raw) => new(
        (raw.Mode & TypeMask) switch { TypeFile => FileKind.File, TypeFolder => FileKind.Folder, _ => FileKind.Other },
        raw.Size, raw.Inode, raw.Links, raw.ModifiedSeconds, raw.ModifiedNanoseconds);

    /// <summary>Modification time in .NET's unit; a time that it cannot express is cut to its range.</summary>
    public DateTime Modified => DateTime.UnixEpoch.AddTicks(
        Math.Clamp(ModifiedSeconds, -DateTime.UnixEpoch.Ticks / TimeSpan.TicksPerSecond, (DateTime.MaxValue - DateTime.UnixEpoch).Ticks / TimeSpan.TicksPerSecond)
        * TimeSpan.TicksPerSecond + ModifiedNanoseconds / TimeSpan.NanosecondsPerTick);

    /// <summary>
    /// Unique per write: two files that exist at the same time differ in inode, and the writer makes the modification time of each version
    /// later than that of the version it replaces, so a reused inode differs in time.
    /// </summary>
    public string Version => $"{Inode:x}-{ModifiedSeconds:x}.{ModifiedNanoseconds:x}-{Length:x}";
}

/// <summary>What stands at a name.</summary>
internal enum FileKind
{
    File,
    Folder,

    /// <summary>A symbolic link, device, socket or FIFO: never ours, never followed.</summary>
    Other,
}
