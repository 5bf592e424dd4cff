using FASTER.core;

namespace Delivery.Edge.Cache.DiskTier;

/// <summary>What a look into the directory does to the entry that it finds.</summary>
internal enum DirectoryAction
{
    /// <summary>Nothing.</summary>
    Look,

    /// <summary>Counts a use.</summary>
    Use,

    /// <summary>Notes an I/O error, if the entry still names <see cref="DirectoryLook.Expected"/>. The marks from before are given back.</summary>
    Fail,

    /// <summary>Starts the uses again at 1, if the entry still names <see cref="DirectoryLook.Expected"/>.</summary>
    Restart,

    /// <summary>Takes the entry back, if it still names <see cref="DirectoryLook.Expected"/>.</summary>
    Kill,
}

internal struct DirectoryLook
{
    public DirectoryAction Action;
    public ChunkLocation Expected;
}

/// <summary>FASTER's callbacks: marks are set in place, inside the epoch, where the page cannot be reused. No await, no lock, no log.</summary>
internal sealed class DirectoryFunctions : FunctionsBase<ChunkKey, ChunkLocation, DirectoryLook, ChunkLocation, Empty>
{
    // The record is reached by reference in either region of the log, so a mark lands in the ring itself.
    public override bool SingleReader(ref ChunkKey key, ref DirectoryLook input, ref ChunkLocation value, ref ChunkLocation dst, ref ReadInfo readInfo) =>
        Visit(ref input, ref value, ref dst);

    public override bool ConcurrentReader(ref ChunkKey key, ref DirectoryLook input, ref ChunkLocation value, ref ChunkLocation dst, ref ReadInfo readInfo) =>
        Visit(ref input, ref value, ref dst);

    public override bool SingleWriter(
        ref ChunkKey key, ref DirectoryLook input, ref ChunkLocation src, ref ChunkLocation dst, ref ChunkLocation output, ref UpsertInfo upsertInfo, WriteReason reason)
    {
        dst = src;
        return true;
    }

    /// <summary>
    /// Refuses, so that FASTER appends: an update in place would leave the entry where the old one stood, and the ring would drop it with the
    /// old one's neighbours, long before its segment.
    /// </summary>
    public override bool ConcurrentWriter(
        ref ChunkKey key, ref DirectoryLook input, ref ChunkLocation src, ref ChunkLocation dst, ref ChunkLocation output, ref UpsertInfo upsertInfo) => false;

    private static bool Visit(ref DirectoryLook input, ref ChunkLocation value, ref ChunkLocation found)
    {
        found = value;
        if (found.IsDead)
            return false;
        switch (input.Action)
        {
            case DirectoryAction.Look:
                return true;
            case DirectoryAction.Use:
                value.AddUse();
                found = value;
                return true;
            default:
                if (!found.Equals(input.Expected))
                    return false;
                if (input.Action == DirectoryAction.Fail)
                    value.MarkFailed();
                else if (input.Action == DirectoryAction.Restart)
                    value.RestartUses();
                else
                    value.MarkDead();
                return true;
        }
    }
}
