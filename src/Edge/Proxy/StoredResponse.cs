using System.Collections.Frozen;
using Delivery.Edge.Cache;
using Delivery.Edge.Freshness;
using Microsoft.AspNetCore.Http;

namespace Delivery.Edge.Proxy;

/// <summary>One response to GET as it is stored: all but its body, which lies in the chunk cache under a name of its own. Immutable; a refresh makes a new one with the same body.</summary>
internal sealed record StoredResponse
{
    // RFC 9111 §3.2: of the 304, the fields that say how the stored bytes are to be read are not taken; they are those of the bytes. The ETag is the one that was asked about.
    private static readonly FrozenSet<string> OfTheBytes = new[]
    {
        "Content-Length", "Content-Encoding", "Content-Range", "Content-MD5", "Content-Digest", "Repr-Digest", "Digest", "ETag",
    }.ToFrozenSet(StringComparer.OrdinalIgnoreCase);

    // Objects, dictionary, texts' headers: measured per response without fields.
    private const int FixedBytes = 1024;

    /// <summary>The URL: scheme, authority, path and query.</summary>
    public required string Key { get; init; }

    public required int Status { get; init; }

    /// <summary>As they go to clients, without those of the hop, and with a Date. Never changed.</summary>
    public required IHeaderDictionary Fields { get; init; }

    public required ResponseFreshness Freshness { get; init; }

    public required Selection Selection { get; init; }

    /// <summary>Names the body's chunks; no two responses share one.</summary>
    public required ObjectHash Body { get; init; }

    /// <summary>Bytes of the body; null while one of unknown length lands.</summary>
    public required long? Length { get; init; }

    public string? ETag => Fields.ETag.Count > 0 ? Fields.ETag[0] : null;

    public string? LastModified => Fields.LastModified.Count > 0 ? Fields.LastModified[0] : null;

    /// <summary>RAM that it takes, body apart: an estimate on the high side, UTF-16 texts counted.</summary>
    public long MetadataBytes => FixedBytes + 2 * (Key.Length + Selection.Text.Length + Fields.Sum(f => (long)f.Key.Length + f.Value.Sum(v => v?.Length ?? 0) + 64));

    /// <summary>What is stored of an answer to GET.</summary>
    public static StoredResponse Of(string key, UpstreamReply reply, ResponseFreshness freshness, FreshnessPolicy policy, IHeaderDictionary request, ObjectHash body)
    {
        var fields = ForwardedFields.CopyOf(reply.Fields);
        Complete(fields, policy, reply.ReceivedAt);
        return new()
        {
            Key = key,
            Status = reply.Status,
            Fields = fields,
            Freshness = freshness,
            Selection = Selection.Of(fields.Vary, request),
            Body = body,
            Length = reply.HasBody ? reply.Length : 0,
        };
    }

    /// <summary>RFC 9111 §3.2, §4.3.4: with what a 304 (or a HEAD's 200, §4.3.5) says now.</summary>
    public StoredResponse Refresh(UpstreamReply reply, FreshnessPolicy policy, IHeaderDictionary request)
    {
        var fields = ForwardedFields.CopyOf(Fields);
        // They tell the time of the answer before; a new answer without them is as old as its arrival.
        fields.Remove("Age");
        fields.Remove("Date");
        foreach (var (name, value) in reply.Fields)
        {
            if (!OfTheBytes.Contains(name))
                fields[name] = value;
        }

        Complete(fields, policy, reply.ReceivedAt);
        return this with
        {
            Fields = fields,
            Freshness = policy.Evaluate(Status, fields, reply.RequestedAt, reply.ReceivedAt),
            Selection = Selection.Of(fields.Vary, request),
        };
    }

    /// <summary>RFC 9111 §4.3.5: whether what a HEAD says can be of these bytes.</summary>
    public bool IsSameAs(IHeaderDictionary head) =>
        (head.ETag.Count == 0 || head.ETag == Fields.ETag)
        && (head.LastModified.Count == 0 || head.LastModified == Fields.LastModified)
        && (head.ContentLength is not { } length || length == Length);

    public ChunkKey ChunkKey(long index) => new(Body, index);

    /// <summary>Whether every chunk of the body can be read.</summary>
    public bool IsIn(ChunkCache cache)
    {
        if (Length is not { } length)
            return false;
        for (var index = 0L; index < Chunk.CountOf(length); index++)
        {
            if (!cache.Contains(ChunkKey(index), Chunk.LengthOf(index, length)))
                return false;
        }

        return true;
    }

    private static void Complete(IHeaderDictionary fields, FreshnessPolicy policy, DateTimeOffset receivedAt)
    {
        // RFC 9110 §6.6.1: a recipient with a clock records when it came.
        if (fields.Date.Count == 0)
            fields.Date = HttpDate.Format(receivedAt);
        foreach (var name in policy.DirectivesOf(fields, out _).WithheldFields)
            fields.Remove(name);
    }
}
