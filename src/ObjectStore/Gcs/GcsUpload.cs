using System.Globalization;
using System.Net;
using System.Text;
using System.Text.Json;
using Delivery.ObjectStore.Remote;
using Polly;

namespace Delivery.ObjectStore.Gcs;

/// <summary>One write on its way: as one request, or as a session of chunks.</summary>
/// <remarks>
/// Whether a request whose answer was lost has made the object is found out by the id that each write puts into the custom metadata: a write is never done twice because its
/// answer was lost, and a condition that fails because the write itself has changed the object is not told as one that failed.
/// </remarks>
internal sealed class GcsUpload(GcsClient client, ResiliencePipeline retry, StoreUrl url, ObjectKey key, string name, ObjectWrite write)
{
    private readonly string _action = $"write '{key}'";
    private readonly string _writeId = Guid.NewGuid().ToString("N");
    private readonly string _target = $"upload/storage/v1/b/{url.Bucket}/o";
    private readonly string _condition = Condition(key, write.Precondition);

    /// <summary>A content of at most one chunk, which is all there.</summary>
    public async ValueTask<GcsObject> SendWholeAsync(ReadOnlyMemory<byte> content, ContentReader reader, CancellationToken cancellationToken)
    {
        var boundary = $"delivery-{_writeId}";
        var head = Encoding.UTF8.GetBytes(
            $"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{Resource(reader.Sha256, reader.Crc32C)}\r\n--{boundary}\r\nContent-Type: {write.ContentType}\r\n\r\n");
        var request = new GcsRequest(HttpMethod.Post, $"{_target}?uploadType=multipart{_condition}", _action)
        {
            ContentType = $"multipart/related; boundary={boundary}",
            Body = [head, content, Encoding.UTF8.GetBytes($"\r\n--{boundary}--\r\n")],
            IsConditional = _condition.Length > 0,
        };
        var mayBeMade = false;
        StoreException? refused = null;
        var made = await retry.ExecuteAsync(
            async token =>
            {
                if (mayBeMade && await FindOwnAsync(token) is { } own)
                    return own;
                try
                {
                    using var answer = await client.SendAsync(request, token);
                    mayBeMade = true;
                    return await GcsObject.ReadAsync(answer, token);
                }
                catch (StoreException e) when (e.Error == StoreError.Unavailable)
                {
                    mayBeMade = true;
                    throw;
                }
                catch (StoreException e) when (e.Error == StoreError.PreconditionFailed && mayBeMade)
                {
                    refused = e;
                    return await FindOwnAsync(token);
                }
            },
            cancellationToken);
        return made ?? throw new StoreException(
            StoreError.Unavailable,
            $"Could not {_action} in '{url.Bucket}': an answer was lost, and the object is not as the precondition demands any more; whether it was so when this write came is not known.",
            refused);
    }

    /// <summary>A content of more than one chunk: <paramref name="buffer"/> holds the first, and then each in turn, and nothing else is held.</summary>
    public async ValueTask<GcsObject> SendChunksAsync(Memory<byte> buffer, ContentReader reader, CancellationToken cancellationToken)
    {
        // A session that nothing was sent to is nothing, so its start may be tried again.
        var session = await retry.ExecuteAsync(StartAsync, cancellationToken);
        var made = false;
        try
        {
            var (persisted, filled) = (0L, buffer.Length);
            while (true)
            {
                // What the service has not persisted is still at the front of the buffer; the rest is filled, and the last chunk is known to be the last.
                filled += await reader.FillAsync(buffer[filled..], cancellationToken);
                var chunk = new Chunk(persisted, buffer[..filled], reader.AtEnd ? reader.Length : null, reader.Crc32C);
                var (own, reached) = await SendChunkAsync(session, chunk, cancellationToken);
                if (own is not null)
                {
                    made = true;
                    return own;
                }

                var taken = (int)(reached - persisted);
                buffer[taken..filled].CopyTo(buffer);
                (persisted, filled) = (reached, filled - taken);
            }
        }
        finally
        {
            if (!made)
                await client.RemoveQuietlyAsync(session, isSession: true);
        }
    }

    private async ValueTask<string> StartAsync(CancellationToken cancellationToken)
    {
        var request = new GcsRequest(HttpMethod.Post, $"{_target}?uploadType=resumable{_condition}", _action)
        {
            ContentType = "application/json; charset=UTF-8",
            // What the content's digest is, is only known here when it was promised; it is compared before the last chunk goes.
            Body = [Encoding.UTF8.GetBytes(Resource(write.ExpectedSha256, null))],
            IsConditional = _condition.Length > 0,
        };
        using var answer = await client.SendAsync(request, cancellationToken);
        // The session's URL is a secret and gets the content: not over plain http, when the endpoint is not.
        return answer.Location is { IsAbsoluteUri: true } session && session.Scheme == client.Endpoint.Split(':')[0] ? session.OriginalString
            : throw new StoreException(StoreError.Misconfigured, $"Could not {_action}: what answers at {client.Endpoint} starts no upload session as Cloud Storage does.");
    }

    /// <summary>
    /// Sends a chunk until some of it is persisted: the object when it was the last, else how far the service has got. After a broken connection the session is asked what it has
    /// (docs/performing-resumable-uploads#status-check).
    /// </summary>
    private async ValueTask<(GcsObject? Made, long Persisted)> SendChunkAsync(string session, Chunk chunk, CancellationToken cancellationToken)
    {
        var asks = false;
        return await retry.ExecuteAsync(
            async token =>
            {
                if (asks)
                {
                    var (made, persisted) = await PutAsync(session, chunk, isQuery: true, token);
                    if (made is not null || persisted > chunk.Offset)
                        return (made, persisted);
                }

                asks = true;
                // Nothing left of the last chunk: the service has it all, and is told that it is all.
                var answer = await PutAsync(session, chunk, isQuery: chunk.Bytes.IsEmpty, token);
                return answer.Made is not null || answer.Persisted > chunk.Offset ? answer
                    : throw new StoreException(StoreError.Unavailable, $"Could not {_action} in '{url.Bucket}': of {chunk.Bytes.Length} bytes Cloud Storage has persisted none.");
            },
            cancellationToken);
    }

    private async ValueTask<(GcsObject? Made, long Persisted)> PutAsync(string session, Chunk chunk, bool isQuery, CancellationToken cancellationToken)
    {
        var total = chunk.Total is { } known ? known.ToString(CultureInfo.InvariantCulture) : "*";
        var request = new GcsRequest(HttpMethod.Put, session, _action)
        {
            IsSession = true,
            IsConditional = _condition.Length > 0,
            Passing = [HttpStatusCode.PermanentRedirect, HttpStatusCode.NotFound, HttpStatusCode.Gone],
            Body = isQuery ? [] : [chunk.Bytes],
            ContentRange = isQuery ? $"bytes */{total}" : $"bytes {chunk.Offset}-{chunk.Offset + chunk.Bytes.Length - 1}/{total}",
            Crc32C = chunk.Total is null ? null : chunk.Crc32C,
        };
        using var answer = await client.SendAsync(request, cancellationToken);
        if (answer.IsSuccess)
            return (await GcsObject.ReadAsync(answer, cancellationToken), 0);
        if (answer.Status != HttpStatusCode.PermanentRedirect)
        {
            // The session is over. It may be so because it made the object, and the answer was lost.
            if (chunk.Total is not null && isQuery && await FindOwnAsync(cancellationToken) is { } own)
                return (own, 0);
            throw new StoreException(StoreError.Unavailable, $"Could not {_action} in '{url.Bucket}': the upload session was lost ({(int)answer.Status}: {answer.Refusal.Message}).");
        }

        // No Range: nothing. It never goes back, and cannot have what it was not sent.
        var persisted = answer.Header("Range") is { } range && range.StartsWith("bytes=0-", StringComparison.Ordinal)
            && long.TryParse(range["bytes=0-".Length..], NumberStyles.None, CultureInfo.InvariantCulture, out var last) ? last + 1 : 0;
        return persisted >= chunk.Offset && persisted <= chunk.Offset + chunk.Bytes.Length ? (null, persisted)
            : throw new StoreException(
                StoreError.Corrupt, $"Could not {_action} in '{url.Bucket}': Cloud Storage says that it has {persisted} bytes, after {chunk.Offset} and of {chunk.Offset + chunk.Bytes.Length}.");
    }

    /// <summary>The version that this write has made, if it stands.</summary>
    private async ValueTask<GcsObject?> FindOwnAsync(CancellationToken cancellationToken)
    {
        // Who may create and not read is refused: then it is not known.
        using var answer = await client.SendAsync(
            new(HttpMethod.Get, $"storage/v1/b/{url.Bucket}/o/{Uri.EscapeDataString(name)}?fields={GcsStore.Fields}", $"look up '{key}'")
            {
                Passing = [HttpStatusCode.NotFound, HttpStatusCode.Forbidden],
            },
            cancellationToken);
        if (!answer.IsSuccess)
            return null;
        var found = await GcsObject.ReadAsync(answer, cancellationToken);
        return found.WriteId == _writeId ? found : null;
    }

    private string Resource(string? sha256, uint? crc32C)
    {
        using var text = new MemoryStream();
        using (var json = new Utf8JsonWriter(text))
        {
            json.WriteStartObject();
            json.WriteString("name", name);
            json.WriteString("contentType", write.ContentType);
            if (crc32C is { } crc)
                json.WriteString("crc32c", GcsObject.FormatCrc32C(crc));
            json.WriteStartObject("metadata");
            if (sha256 is not null)
                json.WriteString(GcsObject.Sha256Key, sha256);
            json.WriteString(GcsObject.WriteIdKey, _writeId);
            json.WriteEndObject();
            json.WriteEndObject();
        }

        return Encoding.UTF8.GetString(text.ToArray());
    }

    /// <summary>docs/request-preconditions: generation 0 is that of no object. A version that is no generation was never given by this store.</summary>
    private static string Condition(ObjectKey key, WritePrecondition precondition)
    {
        if (precondition.MustBeAbsent)
            return "&ifGenerationMatch=0";
        if (precondition.MustMatchVersion is not { } version)
            return "";
        return long.TryParse(version, NumberStyles.None, CultureInfo.InvariantCulture, out var generation) && generation > 0 && version == generation.ToString(CultureInfo.InvariantCulture)
            ? $"&ifGenerationMatch={version}"
            : throw new StoreException(StoreError.PreconditionFailed, $"'{key}' is not version {version}: that is no generation.");
    }

    /// <param name="Offset">Where it lies in the object, which is what the service has persisted.</param>
    /// <param name="Bytes">A multiple of 256 KiB, unless it is the last.</param>
    /// <param name="Total">Of the object, when this is the last chunk.</param>
    /// <param name="Crc32C">Of the object, when this is the last chunk.</param>
    private sealed record Chunk(long Offset, ReadOnlyMemory<byte> Bytes, long? Total, uint Crc32C);
}
