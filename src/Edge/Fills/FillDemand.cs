using Delivery.Edge.Objects;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;

namespace Delivery.Edge.Fills;

/// <summary>What a reader needs of upstream.</summary>
/// <param name="Path">The public path.</param>
/// <param name="Key">The object's key in a store.</param>
/// <param name="Known">What the reader knows of the object; null when it is the first to ask.</param>
/// <param name="Chunk">The chunk that it needs now.</param>
/// <param name="Wanted">Chunks from there on that it asked for in so many words, 1 to <see cref="Edge.Chunk.MaxRun"/>: the end of an open range is no wish.</param>
internal readonly record struct FillDemand(string Path, ObjectKey Key, EdgeObject? Known, long Chunk, int Wanted)
{
    /// <summary>Who needs it.</summary>
    public Asker Asker { get; init; }

    /// <summary>It came to this chunk by reading the one before.</summary>
    public bool IsSequential { get; init; }

    /// <summary>It has asked for this chunk before.</summary>
    public bool IsRepeated { get; init; }

    /// <summary>No more than it names: an edge asks, which reads ahead itself, and one tier on top of the other would multiply what each may waste.</summary>
    public bool IsExact { get; init; }

    /// <summary>The chunk is to be filled even if the cache seems to hold it.</summary>
    public bool Refill { get; init; }
}
