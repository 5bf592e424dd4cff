using System.Security.Cryptography;
using System.Text;
using Delivery.ObjectStore.Copying;

namespace Delivery.ObjectStore.Failover;

/// <summary>What became of a change that a demoted store had accepted. The name is also the metric label and the log word.</summary>
public enum LeftBehindOutcome
{
    /// <summary>The new primary has it already, or it was never accepted.</summary>
    Nothing,

    /// <summary>The new primary had no such object: it has it now.</summary>
    Adopted,

    /// <summary>A delete that was accepted, of an object that nobody has written since: done on the new primary too.</summary>
    Deleted,

    /// <summary>The new primary has another version, or a log that has gone on: both are kept, the old one below <c>replication/conflicts/</c>.</summary>
    Conflict,
}

/// <summary>Brings what a demoted store had accepted, and its markers still name, to the store that took its place. Nothing accepted is lost without a word.</summary>
internal static class LeftBehind
{
    public const string ConflictPrefix = "replication/conflicts/";

    /// <summary>Settles one marker of a fenced store. May be done again at any point.</summary>
    /// <exception cref="StoreException">Of either store; the marker stands then.</exception>
    public static async ValueTask<LeftBehindOutcome> AdoptAsync(IObjectStore demoted, IObjectStore primary, string id, ReplicationMarker marker, CancellationToken cancellationToken)
    {
        var key = ObjectKey.Parse(marker.Key);
        var outcome = await JudgeAsync(demoted, primary, id, marker, key, cancellationToken);
        await demoted.DeleteAsync(ReplicationMarker.KeyOf(id), cancellationToken);
        return outcome;
    }

    public static ObjectKey ConflictKey(string id, ObjectKey key) =>
        ObjectKey.TryParse($"{ConflictPrefix}{id}/{key}", out var under) ? under
        : ObjectKey.Parse($"{ConflictPrefix}{id}/{Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(key.Value)))}");

    private static async ValueTask<LeftBehindOutcome> JudgeAsync(
        IObjectStore demoted, IObjectStore primary, string id, ReplicationMarker marker, ObjectKey key, CancellationToken cancellationToken)
    {
        var left = await demoted.FindAsync(key, cancellationToken);
        var there = await primary.FindAsync(key, cancellationToken);
        if (left is null)
        {
            if (marker.Kind != MarkerKind.Delete || there is null || there.LastModified > marker.StartedAt)
                return LeftBehindOutcome.Nothing;
            await primary.DeleteAsync(key, cancellationToken);
            return LeftBehindOutcome.Deleted;
        }

        if (there is null && !IsLog(key))
        {
            // On condition that there still is none: nobody's newer write is replaced.
            var copied = await ObjectCopy.EnsureAsync(demoted, primary, key, Replicator.OptionsFor(key, MarkerKind.Write), cancellationToken);
            return copied.Outcome == CopyOutcome.Copied ? LeftBehindOutcome.Adopted : LeftBehindOutcome.Nothing;
        }

        // A log's past cannot be written after its readers have gone by: such an entry too is kept aside.
        if (there is not null && (StoreKeys.IsImmutable(key) || await ObjectCopy.AreSameAsync(demoted, left, primary, there, verify: true, cancellationToken) == true))
            return LeftBehindOutcome.Nothing;
        await CopyAsideAsync(demoted, primary, left, ConflictKey(id, key), cancellationToken);
        return LeftBehindOutcome.Conflict;
    }

    private static bool IsLog(ObjectKey key) => key.Value.StartsWith(StoreKeys.ControlLogPrefix, StringComparison.Ordinal);

    private static async ValueTask CopyAsideAsync(IObjectStore demoted, IObjectStore primary, ObjectInfo left, ObjectKey aside, CancellationToken cancellationToken)
    {
        await using var read = await demoted.OpenReadAsync(left.Key, null, cancellationToken)
            ?? throw new StoreException(StoreError.Unavailable, $"'{left.Key}' went away from a store that takes no writes.");
        await primary.WriteAsync(aside, read.Content, new ObjectWrite { ContentType = read.Info.ContentType, ExpectedLength = read.Info.Length, ExpectedSha256 = read.Info.Sha256 }, cancellationToken);
    }
}
