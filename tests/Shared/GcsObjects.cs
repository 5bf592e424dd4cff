using System.Buffers.Binary;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using System.Text.Json.Nodes;
using Delivery.ObjectStore;
using Microsoft.AspNetCore.Http;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Tests;

/// <summary>The bytes of an object: in memory while they are few, else in a file that has no name any more. Counts its readers, so that one that is replaced can be read to its end.</summary>
internal sealed class GcsContent
{
    private const int MemoryBytes = 64 * 1024;
    private byte[] _memory = [];
    private SafeFileHandle? _file;
    private int _holders = 1;

    public long Length { get; private set; }

    public uint Crc32C { get; private set; }

    public string Crc32CText
    {
        get
        {
            var bytes = new byte[4];
            BinaryPrimitives.WriteUInt32BigEndian(bytes, Crc32C);
            return Convert.ToBase64String(bytes);
        }
    }

    public void Append(ReadOnlySpan<byte> bytes)
    {
        if (_file is null && Length + bytes.Length <= MemoryBytes)
        {
            if (_memory.Length < Length + bytes.Length)
                Array.Resize(ref _memory, (int)Math.Max(Length + bytes.Length, Math.Min(MemoryBytes, 2 * _memory.Length)));
            bytes.CopyTo(_memory.AsSpan((int)Length));
        }
        else
        {
            if (_file is null)
            {
                var path = Path.Combine(Path.GetTempPath(), $"gcs-{Guid.NewGuid():N}");
                _file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.ReadWrite);
                File.Delete(path);
                RandomAccess.Write(_file, _memory.AsSpan(0, (int)Length), 0);
                _memory = [];
            }

            RandomAccess.Write(_file, bytes, Length);
        }

        Length += bytes.Length;
        Crc32C = ObjectStore.Crc32C.Append(Crc32C, bytes);
    }

    public int Read(Span<byte> buffer, long offset)
    {
        if (_file is not null)
            return RandomAccess.Read(_file, buffer, offset);
        var count = (int)Math.Min(buffer.Length, Length - offset);
        _memory.AsSpan((int)offset, count).CopyTo(buffer);
        return count;
    }

    public GcsContent Hold()
    {
        Interlocked.Increment(ref _holders);
        return this;
    }

    public void LetGo()
    {
        if (Interlocked.Decrement(ref _holders) == 0)
            _file?.Dispose();
    }
}

/// <summary>An object's one live version.</summary>
internal sealed record GcsObject(string Bucket, string Name, long Generation, string ContentType, JsonObject Given, DateTimeOffset Created, GcsContent Content)
{
    public string? ContentEncoding => (string?)Given["contentEncoding"];

    public string ETag => $"C{Convert.ToBase64String(BitConverter.GetBytes(Generation)).TrimEnd('=')}EAE=";

    /// <summary>The resource, as json_api/v1/objects describes it. Numbers of 64 bits are strings.</summary>
    public JsonObject Resource()
    {
        var created = Created.UtcDateTime.ToString("yyyy-MM-ddTHH:mm:ss.fffZ", CultureInfo.InvariantCulture);
        var resource = new JsonObject
        {
            ["kind"] = "storage#object",
            ["id"] = $"{Bucket}/{Name}/{Generation}",
            ["name"] = Name,
            ["bucket"] = Bucket,
            ["generation"] = Generation.ToString(CultureInfo.InvariantCulture),
            ["metageneration"] = "1",
            ["contentType"] = ContentType,
            ["storageClass"] = "STANDARD",
            ["size"] = Content.Length.ToString(CultureInfo.InvariantCulture),
            ["crc32c"] = Content.Crc32CText,
            ["etag"] = ETag,
            ["timeCreated"] = created,
            ["updated"] = created,
            ["timeStorageClassUpdated"] = created,
            ["timeFinalized"] = created,
        };
        foreach (var given in (string[])["metadata", "contentEncoding", "contentLanguage", "cacheControl"])
        {
            if (Given[given] is { } value)
                resource[given] = value.DeepClone();
        }

        return resource;
    }
}

/// <summary>A bucket, strongly consistent: each look and each change is alone with it.</summary>
public sealed class GcsBucket(string name)
{
    private readonly SortedDictionary<string, GcsObject> _objects = new(Utf8Order.Instance);
    private long _lastGeneration;

    public string Name { get; } = name;

    internal GcsObject? Find(string key)
    {
        lock (_objects)
            return Live(key);
    }

    /// <summary>The object with a hold on its content, which the caller lets go.</summary>
    internal GcsObject? Open(string key)
    {
        lock (_objects)
        {
            var found = Live(key);
            found?.Content.Hold();
            return found;
        }
    }

    internal GcsObject Commit(string key, string contentType, JsonObject given, GcsContent content, GcsConditions conditions, DateTimeOffset now)
    {
        lock (_objects)
        {
            conditions.Judge(Live(key), isRead: false);
            // Microseconds, as the service's numbers are; a later version has a higher one.
            _lastGeneration = Math.Max(_lastGeneration + 1, (now - DateTimeOffset.UnixEpoch).Ticks / 10);
            if (_objects.TryGetValue(key, out var old))
                old.Content.LetGo();
            return _objects[key] = new(Name, key, _lastGeneration, contentType, given, now, content);
        }
    }

    internal bool Remove(string key, GcsConditions conditions)
    {
        lock (_objects)
        {
            if (Live(key) is not { } found)
                return false;
            conditions.Judge(found, isRead: false);
            found.Content.LetGo();
            return _objects.Remove(key);
        }
    }

    /// <summary>The first objects of a listing, and whether there are more.</summary>
    internal (List<GcsObject> Page, bool IsLast) List(string prefix, string startOffset, string endOffset, string after, int count)
    {
        lock (_objects)
        {
            var found = _objects.Values
                .Where(o => o.Name.StartsWith(prefix, StringComparison.Ordinal)
                    && (startOffset.Length == 0 || Utf8Order.Instance.Compare(o.Name, startOffset) >= 0)
                    && (endOffset.Length == 0 || Utf8Order.Instance.Compare(o.Name, endOffset) < 0)
                    && (after.Length == 0 || Utf8Order.Instance.Compare(o.Name, after) > 0))
                .Take(count + 1).ToList();
            return found.Count > count ? (found[..count], false) : (found, true);
        }
    }

    internal void Clear()
    {
        lock (_objects)
        {
            foreach (var held in _objects.Values)
                held.Content.LetGo();
            _objects.Clear();
        }
    }

    private GcsObject? Live(string key) => _objects.GetValueOrDefault(key);

    private sealed class Utf8Order : IComparer<string>
    {
        public static readonly Utf8Order Instance = new();

        public int Compare(string? x, string? y)
        {
            Span<byte> left = stackalloc byte[3 * x!.Length], right = stackalloc byte[3 * y!.Length];
            return left[..Encoding.UTF8.GetBytes(x, left)].SequenceCompareTo(right[..Encoding.UTF8.GetBytes(y, right)]);
        }
    }
}

/// <summary>Request preconditions (docs/request-preconditions). Generation 0 is that of an object that does not exist.</summary>
internal readonly record struct GcsConditions(long? GenerationMatch, long? GenerationNotMatch, long? MetagenerationMatch, long? MetagenerationNotMatch)
{
    private const long Metageneration = 1;

    public static GcsConditions Of(IQueryCollection query) =>
        new(Number(query, "ifGenerationMatch"), Number(query, "ifGenerationNotMatch"), Number(query, "ifMetagenerationMatch"), Number(query, "ifMetagenerationNotMatch"));

    public void Judge(GcsObject? live, bool isRead)
    {
        var generation = live?.Generation ?? 0;
        if ((GenerationMatch ?? generation) != generation || (MetagenerationMatch is { } meta && (live is null || meta != Metageneration)))
            throw new GcsError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
        if (GenerationNotMatch == generation || (MetagenerationNotMatch == Metageneration && live is not null))
            throw isRead ? new GcsError(304, "notModified", "Not Modified") : new GcsError(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.");
    }

    internal static long? Number(IQueryCollection query, string name) => query[name].ToString() is not { Length: > 0 } text ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
        : throw new GcsError(400, "invalidParameter", $"Invalid value at '{name}' (TYPE_INT64), \"{text}\"");
}

/// <summary>Reading, listing and deleting.</summary>
internal sealed class GcsObjects(GcsServer server)
{
    /// <summary>docs/json_api/v1/objects/list: maxResults is 1,000 by default and at most.</summary>
    private const int MaxPage = 1000;

    private const int PieceBytes = 128 * 1024;

    public GcsAnswer GetBucket(HttpContext http, string bucket)
    {
        server.Tokens.Demand(http, "buckets.get", "the Google Cloud Storage bucket");
        server.Bucket(bucket);
        return GcsAnswer.Json(200, new JsonObject { ["kind"] = "storage#bucket", ["id"] = bucket, ["name"] = bucket, ["location"] = "EU", ["storageClass"] = "STANDARD" });
    }

    public GcsAnswer List(HttpContext http, string bucket)
    {
        server.Tokens.Demand(http, "objects.list", "the Google Cloud Storage bucket");
        var query = http.Request.Query;
        var count = (int)Math.Min(GcsConditions.Number(query, "maxResults") ?? MaxPage, MaxPage);
        if (count == 0)
            throw new GcsError(400, "invalid", "Invalid maximum number of results.");
        string after;
        try
        {
            after = Encoding.UTF8.GetString(Convert.FromBase64String(query["pageToken"].ToString()));
        }
        catch (FormatException)
        {
            throw new GcsError(400, "invalid", "Invalid page token.");
        }

        var (page, isLast) = server.Bucket(bucket).List(query["prefix"].ToString(), query["startOffset"].ToString(), query["endOffset"].ToString(), after, count);
        var answer = new JsonObject { ["kind"] = "storage#objects" };
        if (!isLast)
            answer["nextPageToken"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(page[^1].Name));
        if (page.Count > 0)
            answer["items"] = new JsonArray([.. page.Select(o => o.Resource())]);
        return GcsAnswer.Json(200, GcsFields.Select(query, answer));
    }

    public GcsAnswer Get(HttpContext http, string bucket, string name, GcsFault fault)
    {
        server.Tokens.Demand(http, "objects.get", "the Google Cloud Storage object");
        var query = http.Request.Query;
        var found = server.Bucket(bucket).Open(name);
        try
        {
            if (found is null || (GcsConditions.Number(query, "generation") is { } generation && generation != found.Generation))
                throw Missing(http, bucket, name, "objects.get");
            GcsConditions.Of(query).Judge(found, isRead: true);
            if (query["alt"] == "media")
                return Media(http, found, fault);
            return query["alt"].ToString() is "" or "json"
                ? GcsAnswer.Json(200, GcsFields.Select(query, found.Resource()))
                : throw new GcsError(400, "invalidAltValue", $"Invalid value for alt: {query["alt"]}");
        }
        catch (GcsError)
        {
            found?.Content.LetGo();
            throw;
        }
    }

    public GcsAnswer Delete(HttpContext http, string bucket, string name)
    {
        server.Tokens.Demand(http, "objects.delete", "the Google Cloud Storage object");
        return server.Bucket(bucket).Remove(name, GcsConditions.Of(http.Request.Query)) ? new GcsAnswer(204) : throw Missing(http, bucket, name, "objects.delete");
    }

    /// <summary>Who may not list is not told that an object is absent (docs/access-control/iam-permissions).</summary>
    private GcsError Missing(HttpContext http, string bucket, string name, string permission) => server.Tokens.Has(http, "objects.list")
        ? new(404, "notFound", $"No such object: {bucket}/{name}")
        : new(
            403, "forbidden", $"The caller does not have storage.{permission} access to the Google Cloud Storage object. Permission 'storage.objects.list' denied on resource (or it may not exist).");

    private GcsAnswer Media(HttpContext http, GcsObject found, GcsFault fault)
    {
        // docs/transcoding: what was stored with gzip is unpacked for who does not accept it, and then there are no ranges.
        var isUnpacked = found.ContentEncoding == "gzip" && !http.Request.Headers.AcceptEncoding.ToString().Contains("gzip", StringComparison.Ordinal);
        var (offset, length, isPart) = Range(isUnpacked ? "" : http.Request.Headers.Range.ToString(), found.Content.Length);
        var answer = new GcsAnswer(isPart ? 206 : 200)
        {
            ContentType = found.ContentType,
            Body = async context =>
            {
                try
                {
                    if (isUnpacked)
                    {
                        await UnpackAsync(context, found.Content);
                        return;
                    }

                    context.Response.ContentLength = length;
                    await SendAsync(context, found.Content, offset, length, fault);
                }
                finally
                {
                    found.Content.LetGo();
                }
            },
        };
        answer.Headers.AddRange(
        [
            ("ETag", found.ETag),
            ("Last-Modified", found.Created.UtcDateTime.ToString("R", CultureInfo.InvariantCulture)),
            ("Cache-Control", "private, max-age=0"),
            ("x-goog-generation", found.Generation.ToString(CultureInfo.InvariantCulture)),
            ("x-goog-metageneration", "1"),
            ("x-goog-hash", $"crc32c={found.Content.Crc32CText}"),
            ("x-goog-storage-class", "STANDARD"),
            ("x-goog-stored-content-encoding", found.ContentEncoding ?? "identity"),
            ("x-goog-stored-content-length", found.Content.Length.ToString(CultureInfo.InvariantCulture)),
        ]);
        if (isUnpacked)
            answer.Headers.AddRange([("Warning", "214 UploadServer gunzipped"), ("x-guploader-response-body-transformations", "gunzipped")]);
        else if (found.ContentEncoding is { } encoding)
            answer.Headers.Add(("Content-Encoding", encoding));
        if (isPart)
            answer.Headers.Add(("Content-Range", $"bytes {offset}-{offset + length - 1}/{found.Content.Length}"));
        answer.Headers.RemoveAll(h => fault.LeavesOut.Contains(h.Name, StringComparer.OrdinalIgnoreCase));
        return answer;
    }

    private async Task SendAsync(HttpContext http, GcsContent content, long offset, long length, GcsFault fault)
    {
        var end = Math.Min(length, Math.Min(fault.BreaksBodyAfter ?? length, fault.HoldsBodyAfter ?? length));
        await http.Response.StartAsync(http.RequestAborted);
        for (long sent = 0; sent < end;)
        {
            var piece = http.Response.BodyWriter.GetMemory(PieceBytes)[..(int)Math.Min(PieceBytes, end - sent)];
            var count = content.Read(piece.Span, offset + sent);
            if (fault.ChangesByte is { } changed && changed >= sent && changed < sent + count)
                piece.Span[(int)(changed - sent)] ^= 1;
            http.Response.BodyWriter.Advance(count);
            sent += count;
            await http.Response.BodyWriter.FlushAsync(http.RequestAborted);
        }

        if (end == length)
            return;
        if (fault.HoldsBodyAfter is not null)
        {
            using var held = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, server.Stopping);
            await Task.Delay(Timeout.Infinite, held.Token);
        }

        http.Abort();
    }

    private static async Task UnpackAsync(HttpContext http, GcsContent content)
    {
        var packed = new byte[content.Length];
        content.Read(packed, 0);
        await using var plain = new GZipStream(new MemoryStream(packed), CompressionMode.Decompress);
        await plain.CopyToAsync(http.Response.Body, http.RequestAborted);
    }

    /// <summary>RFC 9110 §14.2: a range that cannot be understood is ignored; one that selects nothing is refused.</summary>
    private static (long Offset, long Length, bool IsPart) Range(string header, long total)
    {
        if (!header.StartsWith("bytes=", StringComparison.Ordinal) || header["bytes=".Length..].Split('-') is not [var first, var last] || header.Contains(','))
            return (0, total, false);
        var isFirst = long.TryParse(first, NumberStyles.None, CultureInfo.InvariantCulture, out var from);
        var isLast = long.TryParse(last, NumberStyles.None, CultureInfo.InvariantCulture, out var to);
        if ((!isFirst && first.Length > 0) || (!isLast && last.Length > 0) || (!isFirst && !isLast) || (isFirst && isLast && to < from))
            return (0, total, false);
        if (!isFirst)
            (from, to) = (Math.Max(0, total - to), total - 1);
        else if (!isLast || to >= total)
            to = total - 1;
        if (from >= total || to < from)
            throw new GcsError(416, "requestedRangeNotSatisfiable", "Request range not satisfiable") { Headers = { ("Content-Range", $"bytes */{total}") } };
        return (from, to - from + 1, true);
    }
}

/// <summary>Partial responses (docs/json_api#partial-response): <c>a,b/c,items(x,y)</c>. A field that the resource does not have is refused.</summary>
internal static class GcsFields
{
    private static readonly string[] Known =
    [
        "kind", "id", "selfLink", "mediaLink", "name", "bucket", "generation", "metageneration", "contentType", "storageClass", "size",
        "softDeleteTime", "md5Hash", "crc32c", "etag", "contentEncoding",
        "contentDisposition", "contentLanguage", "cacheControl", "timeCreated", "updated", "timeDeleted", "timeStorageClassUpdated", "timeFinalized", "customTime",
        "metadata", "acl", "owner", "componentCount",
        "kmsKeyName", "items", "prefixes", "nextPageToken",
    ];

    public static JsonObject Select(IQueryCollection query, JsonObject resource)
    {
        if (query["fields"].ToString() is not { Length: > 0 } text)
            return resource;
        var position = 0;
        var selected = Select(Parse(text, ref position), resource);
        return position == text.Length ? selected : throw Invalid(text);
    }

    private static JsonObject Select(Dictionary<string, object?> fields, JsonObject from)
    {
        var selected = new JsonObject();
        foreach (var (name, below) in fields)
        {
            if (from[name] is not { } value)
                continue;
            selected[name] = below is not Dictionary<string, object?> inner ? value.DeepClone()
                : value is JsonArray array ? new JsonArray([.. array.Select(item => Select(inner, item!.AsObject()))])
                : Select(inner, value.AsObject());
        }

        return selected;
    }

    private static Dictionary<string, object?> Parse(string text, ref int position, bool isMetadata = false)
    {
        var fields = new Dictionary<string, object?>();
        while (true)
        {
            var start = position;
            while (position < text.Length && !"/,()".Contains(text[position]))
                position++;
            var name = text[start..position];
            if (!isMetadata && !Known.Contains(name))
                throw Invalid(name);
            object? below = null;
            if (position < text.Length && text[position] == '/')
            {
                position++;
                start = position;
                while (position < text.Length && !"/,()".Contains(text[position]))
                    position++;
                below = new Dictionary<string, object?> { [text[start..position]] = null };
            }
            else if (position < text.Length && text[position] == '(')
            {
                position++;
                below = Parse(text, ref position, name == "metadata");
                if (position >= text.Length || text[position++] != ')')
                    throw Invalid(text);
            }

            fields[name] = below;
            if (position >= text.Length || text[position] != ',')
                return fields;
            position++;
        }
    }

    private static GcsError Invalid(string selection) => new(400, "invalidParameter", $"Invalid field selection {selection}");
}
