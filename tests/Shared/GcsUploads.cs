using System.Buffers;
using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;

namespace Delivery.Tests;

/// <summary>
/// <c>objects.insert</c> in its three forms: <c>media</c>, <c>multipart</c> and <c>resumable</c> (docs/performing-resumable-uploads).
/// <code>
/// POST ?uploadType=resumable ─▶ 200 Location: …upload_id=  preconditions are judged here, and again where the object is made
/// PUT bytes 0-262143/*       ─▶ 308 Range: bytes=0-262143  each but the last a multiple of 256 KiB; what is persisted already is ignored
/// PUT bytes */*              ─▶ 308 Range: …               without Range when nothing is persisted
/// PUT bytes 262144-300000/300001 ─▶ 200 + resource         and again 200 for whatever is asked of the session afterwards
/// DELETE                     ─▶ 499                        the session is gone: 410
/// </code>
/// A session's URL is its own credential: no token is asked for there.
/// </summary>
internal sealed class GcsUploads(GcsServer server) : IDisposable
{
    /// <summary>Each chunk but the last is a multiple of it, and whole ones of it are persisted.</summary>
    public const int QuantumBytes = 256 * 1024;

    /// <summary>docs/quotas: object names.</summary>
    private const int MaxNameBytes = 1024;

    /// <summary>docs/quotas: all custom metadata of an object, with room for the rest of the resource.</summary>
    private const int MaxMetadataBytes = 64 * 1024;

    private readonly ConcurrentDictionary<string, Session> _sessions = new(StringComparer.Ordinal);

    public int Pending => _sessions.Values.Count(s => s.State == SessionState.Open);

    public void Expire()
    {
        foreach (var session in _sessions.Values)
            session.End();
    }

    public void Dispose() => Expire();

    public async Task<GcsAnswer> InsertAsync(HttpContext http, string bucketName, GcsFault fault)
    {
        server.Tokens.Demand(http, "objects.create", "the Google Cloud Storage object");
        var bucket = server.Bucket(bucketName);
        return http.Request.Query["uploadType"].ToString() switch
        {
            "media" => await MediaAsync(http, bucket, fault),
            "multipart" => await MultipartAsync(http, bucket, fault),
            "resumable" => await StartAsync(http, bucket),
            "" => throw new GcsError(400, "required", "Required parameter: uploadType"),
            var other => throw new GcsError(400, "invalidParameter", $"Invalid value for uploadType: {other}"),
        };
    }

    public async Task<GcsAnswer> ContinueAsync(HttpContext http, GcsFault fault)
    {
        var session = Find(http);
        // One request at a time, as two at once would persist each other's bytes.
        await session.Gate.WaitAsync(http.RequestAborted);
        try
        {
            if (session.State == SessionState.Over)
                throw new GcsError(410, "gone", "The requested upload session is no longer available.");
            if (session.Made is not null)
                return GcsAnswer.Json(200, session.Made.Resource());
            return await ContinueAsync(http, session, fault);
        }
        finally
        {
            session.Gate.Release();
        }
    }

    public GcsAnswer Cancel(HttpContext http)
    {
        Find(http).End();
        return new GcsAnswer(499) { ContentType = "text/plain; charset=utf-8" };
    }

    private async Task<GcsAnswer> MediaAsync(HttpContext http, GcsBucket bucket, GcsFault fault)
    {
        if (string.IsNullOrEmpty(http.Request.ContentType))
            throw new GcsError(400, "badContent", "Media type of the object is missing: a media upload needs a Content-Type.");
        return await MakeAsync(http, bucket, Name(http, null), http.Request.ContentType, null, http.Request.Body, fault);
    }

    private async Task<GcsAnswer> MultipartAsync(HttpContext http, GcsBucket bucket, GcsFault fault)
    {
        if (!MediaTypeHeaderValue.TryParse(http.Request.ContentType, out var type) || type.MediaType != "multipart/related"
            || HeaderUtilities.RemoveQuotes(type.Boundary) is not { Length: > 0 } boundary)
            throw new GcsError(400, "badContent", "A multipart upload needs a Content-Type of multipart/related with a boundary.");
        var reader = new MultipartReader(boundary.Value!, http.Request.Body) { BodyLengthLimit = null };
        var first = await PartAsync(reader, http.RequestAborted);
        if (!MediaTypeHeaderValue.TryParse(first?.ContentType, out var metadataType) || metadataType.MediaType != "application/json")
            throw new GcsError(400, "badContent", "The first part of a multipart upload is the metadata, of Content-Type application/json.");
        var resource = await ResourceAsync(first!.Body, http.RequestAborted);
        var second = await PartAsync(reader, http.RequestAborted);
        if (string.IsNullOrEmpty(second?.ContentType))
            throw new GcsError(400, "badContent", "The second part of a multipart upload is the media, with a Content-Type.");
        var declared = (string?)resource["contentType"];
        if (declared is not null && declared != second.ContentType)
            throw new GcsError(400, "invalid", $"The Content-Type of the media part, {second.ContentType}, does not agree with the metadata's, {declared}.");
        return await MakeAsync(http, bucket, Name(http, resource), second.ContentType, resource, second.Body, fault, reader);
    }

    private async Task<GcsAnswer> MakeAsync(HttpContext http, GcsBucket bucket, string name, string contentType, JsonObject? resource, Stream body, GcsFault fault, MultipartReader? reader = null)
    {
        var conditions = GcsConditions.Of(http.Request.Query);
        conditions.Judge(bucket.Find(name), isRead: false);
        DemandOverwrite(http, bucket, name);
        var content = new GcsContent();
        try
        {
            using var md5 = resource?["md5Hash"] is null ? null : IncrementalHash.CreateHash(HashAlgorithmName.MD5);
            using var buffer = MemoryPool<byte>.Shared.Rent(QuantumBytes);
            int count;
            for (long received = 0; (count = await body.ReadAsync(buffer.Memory, http.RequestAborted)) > 0; received += count)
            {
                var piece = buffer.Memory.Span[..count];
                fault.Upload(http, piece, received);
                content.Append(piece);
                md5?.AppendData(piece);
            }

            if (reader is not null && await PartAsync(reader, http.RequestAborted) is not null)
                throw new GcsError(400, "badContent", "A multipart upload has two parts.");
            JudgeHashes(content, resource, http.Request.Headers["x-goog-hash"].ToString(), md5);
            var made = bucket.Commit(name, contentType, resource ?? [], content, conditions, server.Now);
            return Made(http, made, fault);
        }
        catch
        {
            content.LetGo();
            throw;
        }
    }

    private async Task<GcsAnswer> StartAsync(HttpContext http, GcsBucket bucket)
    {
        var resource = new JsonObject();
        if (http.Request.ContentLength != 0 && http.Request.ContentType is { Length: > 0 } type)
        {
            if (!MediaTypeHeaderValue.TryParse(type, out var parsed) || parsed.MediaType != "application/json")
                throw new GcsError(400, "badContent", $"Unsupported content with type: {type}");
            resource = await ResourceAsync(http.Request.Body, http.RequestAborted);
        }
        else if (http.Request.ContentLength > 0)
        {
            throw new GcsError(400, "badContent", "Metadata needs a Content-Type of application/json.");
        }

        var name = Name(http, resource);
        var conditions = GcsConditions.Of(http.Request.Query);
        conditions.Judge(bucket.Find(name), isRead: false);
        DemandOverwrite(http, bucket, name);
        var declared = http.Request.Headers["X-Upload-Content-Length"].ToString();
        if (declared.Length > 0 && !long.TryParse(declared, NumberStyles.None, CultureInfo.InvariantCulture, out _))
            throw new GcsError(400, "invalid", "Invalid X-Upload-Content-Length.");
        var contentType = (string?)resource["contentType"] ?? (http.Request.Headers["X-Upload-Content-Type"].ToString() is { Length: > 0 } header ? header : "application/octet-stream");
        var id = Convert.ToHexString(RandomNumberGenerator.GetBytes(48));
        _sessions[id] = new(bucket, name, contentType, resource, conditions, declared.Length > 0 ? long.Parse(declared, CultureInfo.InvariantCulture) : null);
        return new GcsAnswer(200)
        {
            ContentType = "text/plain; charset=utf-8",
            Headers = { ("Location", $"http://{http.Request.Host}/upload/storage/v1/b/{bucket.Name}/o?uploadType=resumable&upload_id={id}"), ("X-GUploader-UploadID", id) },
        };
    }

    private async Task<GcsAnswer> ContinueAsync(HttpContext http, Session session, GcsFault fault)
    {
        var header = http.Request.Headers.ContentRange.ToString();
        var (first, last, total) = ParseContentRange(header, http.Request.ContentLength);
        if (session.Declared is { } declared && total is { } known && declared != known)
            throw new GcsError(400, "invalid", $"The total size {known} is not the X-Upload-Content-Length {declared}.");
        var content = session.Content;
        if (first is null)
        {
            if (http.Request.ContentLength is not 0)
                throw new GcsError(400, "invalid", "A status query has no content.");
            return total == content.Length ? Finish(http, session, fault) : Status(session);
        }

        if (first > content.Length)
        {
            throw new GcsPlainError(
                503, $"Invalid request.  According to the Content-Range header, the upload offset is {first} byte(s), which exceeds already uploaded size of {content.Length} byte(s).");
        }

        var isFinal = header.Length == 0 || (total is not null && last + 1 == total);
        if (last >= total)
            throw new GcsError(400, "invalid", $"Invalid Content-Range: {header}");
        if (last is { } end && http.Request.ContentLength is { } length && length != end - first + 1)
            throw new GcsError(400, "invalid", $"The Content-Length {length} is not what the Content-Range says: {header}");
        if (!isFinal && last is { } stop && (stop - first + 1) % QuantumBytes != 0)
        {
            throw new GcsError(
                400,
                "invalid",
                "Invalid request.  The number of bytes uploaded is required to be equal or greater than 262144, except for the final request (it's recommended to be the exact multiple of 262144).  "
                    + $"The received request contained {stop - first + 1} bytes, which does not meet this requirement.");
        }

        var skipped = content.Length - first.Value;
        var stopsAt = fault.PersistsOnly is { } only ? Math.Max(0, only - skipped) : long.MaxValue;
        await ReceiveAsync(http, content, skipped, stopsAt, fault);
        if (!isFinal || stopsAt != long.MaxValue)
            return Status(session);
        return content.Length == (total ?? content.Length) ? Finish(http, session, fault)
            : throw new GcsError(400, "invalid", $"The upload has {content.Length} bytes, not the {total} that the Content-Range says.");
    }

    /// <summary>Whole 256 KiB are persisted as they come, the rest when the chunk is complete: a connection that breaks leaves a multiple.</summary>
    private static async Task ReceiveAsync(HttpContext http, GcsContent content, long skip, long stopsAt, GcsFault fault)
    {
        using var pooled = MemoryPool<byte>.Shared.Rent(QuantumBytes);
        var block = pooled.Memory[..QuantumBytes];
        var (filled, received, persisted) = (0, 0L, 0L);
        while (true)
        {
            var count = await http.Request.Body.ReadAsync(block[filled..], http.RequestAborted);
            fault.Upload(http, block.Span.Slice(filled, count), received);
            received += count;
            filled += count;
            if (count > 0 && filled < block.Length)
                continue;
            var ignored = (int)Math.Min(skip, filled);
            skip -= ignored;
            var kept = (int)Math.Min(filled - ignored, stopsAt - persisted);
            content.Append(block.Span.Slice(ignored, kept));
            persisted += kept;
            filled = 0;
            if (count == 0)
                return;
        }
    }

    private GcsAnswer Finish(HttpContext http, Session session, GcsFault fault)
    {
        try
        {
            JudgeHashes(session.Content, session.Resource, http.Request.Headers["x-goog-hash"].ToString(), null);
            session.Made = session.Bucket.Commit(session.Name, session.ContentType, session.Resource, session.Content, session.Conditions, server.Now);
            session.State = SessionState.Complete;
            return Made(http, session.Made, fault);
        }
        catch (GcsError)
        {
            session.End();
            throw;
        }
    }

    private static GcsAnswer Status(Session session)
    {
        var answer = new GcsAnswer(308);
        if (session.Content.Length > 0)
            answer.Headers.Add(("Range", $"bytes=0-{session.Content.Length - 1}"));
        return answer;
    }

    private Session Find(HttpContext http) => _sessions.TryGetValue(http.Request.Query["upload_id"].ToString(), out var session)
        ? session : throw new GcsError(404, "notFound", "No such upload session.");

    /// <summary><c>bytes a-b/total</c>, <c>bytes a-b/*</c>, <c>bytes */total</c>, <c>bytes */*</c>, or nothing: then the request is the whole object.</summary>
    private static (long? First, long? Last, long? Total) ParseContentRange(string header, long? contentLength)
    {
        if (header.Length == 0)
            return (0, contentLength is { } length ? length - 1 : null, contentLength);
        if (header.StartsWith("bytes ", StringComparison.Ordinal) && header["bytes ".Length..].Split('/') is [var range, var total] && (total == "*" || Number(total) is not null))
        {
            if (range == "*")
                return (null, null, Number(total));
            if (range.Split('-') is [var first, var last] && Number(first) is { } from && Number(last) is { } to && from <= to)
                return (from, to, Number(total));
        }

        throw new GcsError(400, "invalid", $"Failed to parse Content-Range header: {header}");

        static long? Number(string text) => long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
    }

    /// <summary>docs/data-validation: what the client says of the content is compared with what came, and nothing is made of what differs.</summary>
    private static void JudgeHashes(GcsContent content, JsonObject? resource, string header, IncrementalHash? md5)
    {
        var said = header.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        foreach (var crc in said.Where(h => h.StartsWith("crc32c=", StringComparison.Ordinal)).Select(h => h["crc32c=".Length..]).Append((string?)resource?["crc32c"]))
        {
            if (crc is not null && crc != content.Crc32CText)
                throw new GcsError(400, "invalid", $"Provided CRC32C \"{crc}\" doesn't match calculated CRC32C \"{content.Crc32CText}\".");
        }

        if (md5 is null || (string?)resource?["md5Hash"] is not { } hash)
            return;
        var calculated = Convert.ToBase64String(md5.GetHashAndReset());
        if (hash != calculated)
            throw new GcsError(400, "invalid", $"Provided MD5 hash \"{hash}\" doesn't match calculated MD5 hash \"{calculated}\".");
    }

    private void DemandOverwrite(HttpContext http, GcsBucket bucket, string name)
    {
        if (bucket.Find(name) is not null)
            server.Tokens.Demand(http, "objects.delete", "the Google Cloud Storage object");
    }

    /// <summary>docs/objects#naming.</summary>
    private static string Name(HttpContext http, JsonObject? resource)
    {
        var (query, metadata) = (http.Request.Query["name"].ToString(), (string?)resource?["name"]);
        if (query.Length > 0 && metadata is not null && query != metadata)
            throw new GcsError(400, "invalid", $"Value '{metadata}' in content does not agree with value '{query}'.");
        var name = query.Length > 0 ? query : metadata ?? throw new GcsError(400, "required", "Required");
        return name.Length > 0 && name is not "." and not ".." && !name.AsSpan().ContainsAny('\r', '\n') && !name.StartsWith(".well-known/acme-challenge/", StringComparison.Ordinal)
            && System.Text.Encoding.UTF8.GetByteCount(name) <= MaxNameBytes
            ? name : throw new GcsError(400, "invalid", $"Disallowed unicode characters present in object name '{name}'");
    }

    private static async Task<MultipartSection?> PartAsync(MultipartReader reader, CancellationToken cancellationToken)
    {
        try
        {
            return await reader.ReadNextSectionAsync(cancellationToken);
        }
        catch (InvalidDataException e)
        {
            throw new GcsError(400, "badContent", $"Malformed multipart body: {e.Message}");
        }
    }

    private static async Task<JsonObject> ResourceAsync(Stream body, CancellationToken cancellationToken)
    {
        var buffer = new MemoryStream();
        var piece = new byte[4096];
        int count;
        while ((count = await body.ReadAsync(piece, cancellationToken)) > 0)
        {
            buffer.Write(piece, 0, count);
            if (buffer.Length > MaxMetadataBytes)
                throw new GcsError(400, "metadataTooLarge", "The metadata is too large.");
        }

        try
        {
            return buffer.Length == 0 ? [] : JsonNode.Parse(buffer.ToArray())?.AsObject() ?? throw new GcsError(400, "parseError", "Parse Error");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new GcsError(400, "parseError", "Parse Error");
        }
    }

    private static GcsAnswer Made(HttpContext http, GcsObject made, GcsFault fault)
    {
        var resource = made.Resource();
        if (fault.TellsOtherCrc32C)
            resource["crc32c"] = "AAAAAA==";
        return GcsAnswer.Json(200, GcsFields.Select(http.Request.Query, resource));
    }

    private enum SessionState
    {
        Open,
        Complete,
        Over,
    }

    private sealed class Session(GcsBucket bucket, string name, string contentType, JsonObject resource, GcsConditions conditions, long? declared)
    {
        public SemaphoreSlim Gate { get; } = new(1);

        public GcsBucket Bucket { get; } = bucket;

        public string Name { get; } = name;

        public string ContentType { get; } = contentType;

        public JsonObject Resource { get; } = resource;

        public GcsConditions Conditions { get; } = conditions;

        public long? Declared { get; } = declared;

        public GcsContent Content { get; } = new();

        public GcsObject? Made { get; set; }

        public SessionState State { get; set; }

        public void End()
        {
            if (State != SessionState.Open)
                return;
            State = SessionState.Over;
            Content.LetGo();
        }
    }
}
