using System.Buffers.Binary;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace Delivery.Edge.Cache;

/// <summary>128 bits that name a path, or one version of the object there.</summary>
internal readonly record struct ObjectHash(ulong High, ulong Low)
{
    /// <summary>Names the path: what purges, pins and metadata go by.</summary>
    public static ObjectHash OfPath(string path) => Of(path);

    /// <summary>
    /// Names one version: what chunks go by. SHA-256 cut to 128 bits: no two objects share chunks, whoever chose their names.
    /// </summary>
    /// <param name="path">The path as requested.</param>
    /// <param name="validator">What tells one version from another.</param>
    /// <param name="generation">
    /// Sequence of the last purge of the path when the fill <i>started</i>; 0 without one. A purge therefore makes every chunk from before it unreachable at once, in
    /// RAM, on disk and in fills under way, and costs a hit nothing.
    /// </param>
    public static ObjectHash OfVersion(string path, string validator, long generation) =>
        // NUL cannot occur in a path, so the text has one reading.
        Of(generation == 0 ? $"{path}\0{validator}" : string.Create(CultureInfo.InvariantCulture, $"{path}\0{validator}\0{generation}"));

    private static ObjectHash Of(string text)
    {
        Span<byte> digest = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(Encoding.UTF8.GetBytes(text), digest);
        return new(BinaryPrimitives.ReadUInt64LittleEndian(digest), BinaryPrimitives.ReadUInt64LittleEndian(digest[8..]));
    }
}
