using System.Buffers.Binary;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// What a file cannot say of itself: content type and SHA-256, kept in the extended attribute <c>user.delivery</c> of the same inode, so that
/// one rename commits both and the file's bytes are the object's bytes.
/// </summary>
/// <remarks>
/// <code>
/// 0      1 byte    format, 1
/// 1      8 bytes   modification time that the record belongs to, .NET UTC ticks, little endian
/// 9      32 bytes  SHA-256
/// 41     1..255    content type, ASCII
/// </code>
/// A record whose time is not the file's is void: somebody edited the file in place, or copied attributes without times.
/// Small on purpose: for audio types it fits into ext4's 256-byte inode, so that a cold open costs no further disk read.
/// </remarks>
internal readonly record struct ObjectRecord(string ContentType, string? Sha256)
{
    public const string AttributeName = "user.delivery";

    private const byte Format = 1;
    private const int HeaderSize = 41;
    private const int MaxSize = HeaderSize + ObjectWrite.MaxContentTypeLength;

    /// <summary>Writes the record to a file whose modification time is already final; false when the file system keeps no attributes.</summary>
    public bool TryWrite(SafeFileHandle file, DateTime modified)
    {
        Span<byte> record = stackalloc byte[MaxSize];
        record[0] = Format;
        BinaryPrimitives.WriteInt64LittleEndian(record[1..], modified.Ticks);
        Convert.FromHexString(Sha256!, record[9..HeaderSize], out _, out _);
        var size = HeaderSize + Encoding.ASCII.GetBytes(ContentType, record[HeaderSize..]);
        return Posix.SetAttribute(file, AttributeName, record[..size])
            || (Posix.LastError == Posix.ENOTSUP ? false : throw Posix.Failure("write an object's metadata"));
    }

    /// <summary>Reads the record of a file, or makes one from its name when it has none (dropped in by hand, copied without attributes).</summary>
    public static ObjectRecord Read(SafeFileHandle file, DateTime modified, string name)
    {
        Span<byte> record = stackalloc byte[MaxSize];
        var size = Posix.GetAttribute(file, AttributeName, record);
        return size > HeaderSize && record[0] == Format && BinaryPrimitives.ReadInt64LittleEndian(record[1..]) == modified.Ticks
            ? new ObjectRecord(Encoding.ASCII.GetString(record[HeaderSize..size]), Convert.ToHexStringLower(record[9..HeaderSize]))
            : OfName(name);
    }

    /// <summary>What the name alone tells.</summary>
    public static ObjectRecord OfName(string name) => new(ByExtension(name), null);

    /// <summary>The media types of what the store holds (DESIGN §4) and of common masters.</summary>
    private static string ByExtension(string name) => Path.GetExtension(name).ToLowerInvariant() switch
    {
        ".ogg" or ".oga" => "audio/ogg",
        ".m4a" or ".mp4" => "audio/mp4",
        ".flac" => "audio/flac",
        ".mp3" => "audio/mpeg",
        ".wav" => "audio/wav",
        ".aif" or ".aiff" => "audio/aiff",
        ".json" => "application/json",
        _ => "application/octet-stream",
    };
}
