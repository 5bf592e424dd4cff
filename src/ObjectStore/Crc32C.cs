using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Arm = System.Runtime.Intrinsics.Arm;
using X86 = System.Runtime.Intrinsics.X86;

namespace Delivery.ObjectStore;

/// <summary>CRC-32C (Castagnoli; RFC 3720 appendix B.4), the checksum that x64 and Arm64 have an instruction for.</summary>
/// <remarks>
/// The instruction takes 8 bytes, has a latency of 3 cycles and can start one per cycle. One chain of it therefore uses a third of the unit: the
/// input is cut into three lanes, whose results are joined by moving a CRC over the zeros that a lane is long.
/// </remarks>
public static class Crc32C
{
    private const uint Polynomial = 0x82F63B78;

    /// <summary>Three of these and 16 bytes are one 16 KiB block (of a segment's record on an edge's disk).</summary>
    private const int LongLane = 5456;

    private const int ShortLane = 256;

    private static readonly uint[] OverLongLane = ShiftTable(LongLane);
    private static readonly uint[] OverShortLane = ShiftTable(ShortLane);

    /// <summary>Whether this machine has the instruction; without it <see cref="Of"/> is some 10 times slower.</summary>
    public static bool IsAccelerated => X86.Sse42.X64.IsSupported || Arm.Crc32.Arm64.IsSupported;

    public static uint Of(ReadOnlySpan<byte> bytes) => Append(0, bytes);

    /// <summary>The checksum of what <paramref name="crc"/> is the checksum of, with <paramref name="bytes"/> after it; 0 is that of nothing.</summary>
    public static uint Append(uint crc, ReadOnlySpan<byte> bytes) => ~(IsAccelerated ? Interleaved(~crc, bytes) : Software.Update(~crc, bytes));

    /// <summary>The same by tables, for machines without the instruction; the tests compare both.</summary>
    internal static uint OfInSoftware(ReadOnlySpan<byte> bytes) => ~Software.Update(uint.MaxValue, bytes);

    private static uint Interleaved(uint crc, ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length >= 3 * LongLane)
        {
            crc = ThreeLanes(crc, bytes, LongLane, OverLongLane);
            bytes = bytes[(3 * LongLane)..];
        }

        while (bytes.Length >= 3 * ShortLane)
        {
            crc = ThreeLanes(crc, bytes, ShortLane, OverShortLane);
            bytes = bytes[(3 * ShortLane)..];
        }

        for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
            crc = BitOperations.Crc32C(crc, MemoryMarshal.Read<ulong>(bytes));
        foreach (var b in bytes)
            crc = BitOperations.Crc32C(crc, b);
        return crc;
    }

    private static uint ThreeLanes(uint crc, ReadOnlySpan<byte> bytes, int lane, uint[] overLane)
    {
        ref var first = ref MemoryMarshal.GetReference(bytes[..(3 * lane)]);
        ref var second = ref Unsafe.Add(ref first, lane);
        ref var third = ref Unsafe.Add(ref second, lane);
        uint crc1 = 0, crc2 = 0;
        for (nint i = 0; i < lane; i += sizeof(ulong))
        {
            // BitOperations.Crc32C is the bare instruction on both architectures.
            crc = BitOperations.Crc32C(crc, Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref first, i)));
            crc1 = BitOperations.Crc32C(crc1, Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref second, i)));
            crc2 = BitOperations.Crc32C(crc2, Unsafe.ReadUnaligned<ulong>(ref Unsafe.Add(ref third, i)));
        }

        return Shift(Shift(crc, overLane) ^ crc1, overLane) ^ crc2;
    }

    /// <summary>A CRC moved over a lane of zeros, four bits at a time.</summary>
    private static uint Shift(uint crc, uint[] table)
    {
        var moved = 0u;
        for (var nibble = 0; nibble < 8; nibble++, crc >>= 4)
            moved ^= table[nibble * 16 + (int)(crc & 15)];
        return moved;
    }

    // Moving is linear: what each of the 32 bits becomes, then every value of each of the 8 nibbles. 512 bytes, so that it does not push
    // the data out of the first-level cache as the usual 4 KiB by bytes would.
    private static uint[] ShiftTable(int zeros)
    {
        Span<uint> ofBit = stackalloc uint[32];
        for (var bit = 0; bit < 32; bit++)
        {
            var crc = 1u << bit;
            for (var i = 0; i < zeros * 8; i++)
                crc = (crc >> 1) ^ (Polynomial & (0 - (crc & 1)));
            ofBit[bit] = crc;
        }

        var table = new uint[8 * 16];
        for (var i = 0; i < table.Length; i++)
        {
            for (var bit = 0; bit < 4; bit++)
                table[i] ^= ofBit[i / 16 * 4 + bit] & (0 - (((uint)i >> bit) & 1));
        }

        return table;
    }

    /// <summary>Slicing by 8; its tables (8 KiB) exist only where they are used.</summary>
    private static class Software
    {
        private static readonly uint[] Tables = MakeTables();

        public static uint Update(uint crc, ReadOnlySpan<byte> bytes)
        {
            var tables = Tables;
            for (; bytes.Length >= sizeof(ulong); bytes = bytes[sizeof(ulong)..])
            {
                var word = MemoryMarshal.Read<ulong>(bytes) ^ crc;
                crc = 0;
                for (var i = 0; i < 8; i++, word >>= 8)
                    crc ^= tables[(7 - i) * 256 + (byte)word];
            }

            foreach (var b in bytes)
                crc = (crc >> 8) ^ tables[(byte)(crc ^ b)];
            return crc;
        }

        private static uint[] MakeTables()
        {
            var tables = new uint[8 * 256];
            for (var i = 0; i < 256; i++)
            {
                var crc = (uint)i;
                for (var bit = 0; bit < 8; bit++)
                    crc = (crc >> 1) ^ (Polynomial & (0 - (crc & 1)));
                tables[i] = crc;
            }

            for (var i = 256; i < tables.Length; i++)
                tables[i] = (tables[i - 256] >> 8) ^ tables[(byte)tables[i - 256]];
            return tables;
        }
    }
}
