namespace Delivery.ObjectStore.S3;

/// <summary>How large the parts of a multipart upload are, so that 10,000 of them hold any object that S3 does.</summary>
internal static class PartSizes
{
    /// <summary>S3's bound, and RadosGW's.</summary>
    public const int MaxParts = 10_000;

    /// <summary>The largest content of one PUT.</summary>
    public const long MaxPutBytes = 5L << 30;

    /// <summary>Before this part no content of unknown length is thought to be large: 8 GiB at the default size.</summary>
    private const int ConstantParts = 1000;

    /// <summary>
    /// Bytes of part <paramref name="number"/> (from 1). Of a known length all are equal, and as large as it demands. Of an unknown one they grow with the square of their number from the 1,001st: the 10,000th has 1.9 GB, all of them hold
    /// 5 TiB, and 80 GB still do with parts of 100 MB, where equal parts for 5 TiB would take half a gigabyte of memory from the first byte on.
    /// </summary>
    public static int Of(int number, int configured, long? length)
    {
        if (length is { } known)
            return (int)Math.Max(configured, (known + MaxParts - 1) / MaxParts);
        long growing = Math.Max(0, number - ConstantParts);
        return (int)Math.Min(Array.MaxLength, configured + 23 * growing * growing);
    }
}
