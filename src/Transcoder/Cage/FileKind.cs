using System.Runtime.InteropServices;

namespace Delivery.Transcoder.Cage;

/// <summary>
/// Whether a folder holds files and nothing else. What a tool leaves is opened by the worker, which is in no cage: a link would lead it anywhere, and
/// a pipe would stop it for ever.
/// </summary>
internal static partial class FileKind
{
    private const int CurrentFolder = -100; // AT_FDCWD
    private const int NotThroughLinks = 0x100; // AT_SYMLINK_NOFOLLOW
    private const uint KindOnly = 1; // STATX_TYPE

    // struct statx (statx(2)), the same on every CPU, unlike struct stat; .NET does not tell a pipe from a file.
    private const int StatxBytes = 256;
    private const int ModeOffset = 28;
    private const int KindMask = 0xf000; // S_IFMT
    private const int RegularFile = 0x8000; // S_IFREG

    /// <summary>Name of the first entry that is not a regular file; null when all are.</summary>
    /// <exception cref="IOException">An entry cannot be looked at.</exception>
    public static string? FirstOther(string folder)
    {
        Span<byte> buffer = stackalloc byte[StatxBytes];
        foreach (var entry in Directory.EnumerateFileSystemEntries(folder))
        {
            if (Statx(CurrentFolder, entry, NotThroughLinks, KindOnly, buffer) != 0)
                throw new IOException($"{Path.GetFileName(entry)} cannot be looked at (error {Marshal.GetLastPInvokeError()}).");
            if ((MemoryMarshal.Read<ushort>(buffer[ModeOffset..]) & KindMask) != RegularFile)
                return Path.GetFileName(entry);
        }

        return null;
    }

    [LibraryImport("libc", EntryPoint = "statx", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Statx(int folder, string path, int flags, uint mask, Span<byte> result);
}
