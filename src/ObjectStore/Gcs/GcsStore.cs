using System.Buffers;
using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Delivery.ObjectStore.Remote;
using Polly;

namespace Delivery.ObjectStore.Gcs;

/// <summary>
/// The Google Cloud Storage driver, by the JSON API (docs/adr/0005). Object <c>k</c> of a store <c>gs://bucket/prefix</c> is <c>prefix/k</c>; its version is its generation; its
/// SHA-256, where it was known before the upload, and an id of the write are custom metadata.
/// </summary>
/// <remarks>
/// <code>
/// WriteAsync: 1 refuse ─▶ 2 read up to one chunk ─┬─ it is all ─▶ 3 one multipart request ──────────────────▶ 5 compare with the answer
///                                                 └─ there is more ─▶ 4 a resumable session, chunk by chunk ─▶ 5
///             an object appears when the service has all its bytes and has compared their CRC32C; what fails before leaves nothing, and its session is cancelled
/// </code>
/// </remarks>
public sealed class GcsStore : IObjectStore
{
    /// <summary>Each chunk of an upload but the last is a multiple of it (docs/performing-resumable-uploads).</summary>
    public const int ChunkQuantumBytes = 256 * 1024;

    /// <summary>Google's advice for a chunk: at least 8 MiB. It is also what a write holds in memory.</summary>
    public const int DefaultChunkBytes = 8 << 20;

    /// <summary>A larger chunk gains nothing measurable and costs memory for each upload.</summary>
    public const int MaxChunkBytes = 64 << 20;

    /// <summary>The most that a page of a listing may hold.</summary>
    private const int ListingPage = 1000;

    /// <summary>Of a listing's page: 1,000 times a name of 1,024 bytes, as JSON may write it (six bytes for one), and three numbers.</summary>
    private const int MaxPageBytes = 8 << 20;

    /// <summary>What a small write takes before it knows that it is larger.</summary>
    private const int FirstBufferBytes = 64 * 1024;

    public const string Fields = "name,generation,size,contentType,crc32c,timeCreated,metadata";

    private readonly GcsClient _client;
    private readonly StoreUrl _url;
    private readonly int _chunkBytes;
    private readonly string _bucketPath;
    private readonly ResiliencePipeline _retry;

    /// <summary>It answered something that only a bucket answers, so that 404 means the object.</summary>
    private volatile bool _bucketIsThere;

    private GcsStore(StoreUrl url, StoreClientOptions options, GcsClient client, int chunkBytes)
    {
        (_url, _client, _chunkBytes) = (url, client, chunkBytes);
        _bucketPath = $"storage/v1/b/{url.Bucket}/o";
        _retry = StoreRetry.Of(options);
    }

    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>: an option of the URL that cannot be, or a credentials' file that is none. The message says which.</exception>
    internal static GcsStore Open(StoreUrl url, StoreClientOptions options)
    {
        var chunk = url.Option("chunkSize") is not { } text ? DefaultChunkBytes
            : int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var size) && size is >= ChunkQuantumBytes and <= MaxChunkBytes && size % ChunkQuantumBytes == 0 ? size
            : throw new StoreException(StoreError.Misconfigured, $"chunkSize={text} of '{url}' is not a multiple of {ChunkQuantumBytes} from {ChunkQuantumBytes} to {MaxChunkBytes} bytes.");
        return new(url, options, GcsClient.Open(url, options), chunk);
    }

    public void Dispose() => _client.Dispose();

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        var name = Name(key);
        if (!GcsName.IsPossible(name))
            return null;
        return await _retry.ExecuteAsync(
            async token => await LookUpAsync(key, name, token) is { } found ? found.Info(key) : null, cancellationToken);
    }

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(range?.Offset ?? 0, nameof(range));
        ArgumentOutOfRangeException.ThrowIfLessThan(range?.Length ?? 1, 1, nameof(range));
        var name = Name(key);
        if (!GcsName.IsPossible(name))
            return null;
        return await _retry.ExecuteAsync(async token => await OpenOnceAsync(key, name, range, asStored: false, token), cancellationToken);
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        // 1. Refuse what cannot succeed before the content has been moved.
        cancellationToken.ThrowIfCancellationRequested();
        var name = Name(key);
        if (GcsName.Problem(name) is { } problem)
            throw new StoreException(StoreError.KeyRefused, $"'{key}' cannot be an object of '{_url}': {problem}.");
        var upload = new GcsUpload(_client, _retry, _url, key, name, write);

        // 2. Up to one chunk, in a buffer that grows with it: most objects are manifests of a few hundred bytes.
        using var reader = new ContentReader(key, content, write, withCrc32C: true);
        var buffer = ArrayPool<byte>.Shared.Rent((int)Math.Min(_chunkBytes, write.ExpectedLength ?? FirstBufferBytes));
        try
        {
            var filled = 0;
            while (true)
            {
                filled += await reader.FillAsync(buffer.AsMemory(filled, Math.Min(buffer.Length, _chunkBytes) - filled), cancellationToken);
                if (reader.AtEnd || filled == _chunkBytes)
                    break;
                var larger = ArrayPool<byte>.Shared.Rent(Math.Min(_chunkBytes, 4 * buffer.Length));
                buffer.AsSpan(0, filled).CopyTo(larger);
                ArrayPool<byte>.Shared.Return(buffer);
                buffer = larger;
            }

            // 3, 4. Send, and 5. compare: the service has refused other bytes already, unless it did not look.
            var made = reader.AtEnd
                ? await upload.SendWholeAsync(buffer.AsMemory(0, filled), reader, cancellationToken)
                : await upload.SendChunksAsync(buffer.AsMemory(0, _chunkBytes), reader, cancellationToken);
            _bucketIsThere = true;
            if (made.Size != reader.Length || made.Crc32C != reader.Crc32C)
            {
                await _client.RemoveQuietlyAsync($"{_bucketPath}/{Uri.EscapeDataString(name)}?ifGenerationMatch={made.Generation}");
                throw new StoreException(
                    StoreError.Corrupt, $"Cloud Storage made other bytes of '{key}' than it was sent ({made.Size} instead of {reader.Length}, or another CRC32C); they were deleted.");
            }

            return made.Info(key);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    public async ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        var name = Name(key);
        if (!GcsName.IsPossible(name))
            return false;
        var tries = 0;
        return await _retry.ExecuteAsync(
            async token =>
            {
                // After a try whose answer was lost, an object that is gone may have been deleted by it.
                var isRepeated = tries++ > 0;
                using var answer = await _client.SendAsync(
                    new(HttpMethod.Delete, $"{_bucketPath}/{Uri.EscapeDataString(name)}", $"delete '{key}'") { Passing = [HttpStatusCode.NotFound] }, token);
                if (answer.Status != HttpStatusCode.NotFound)
                    return true;
                await DemandBucketAsync(answer.Refusal, token);
                return isRepeated;
            },
            cancellationToken);
    }

    public async IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var after = string.IsNullOrEmpty(startAfter) ? null : _url.Prefix + startAfter;
        // startOffset is inclusive; what lies at it is left out below. It may lie before the prefix.
        var query = $"{_bucketPath}?maxResults={ListingPage}&fields=items(name,size,generation,timeCreated),nextPageToken"
            + (_url.Prefix.Length + prefix.Length > 0 ? $"&prefix={Uri.EscapeDataString(_url.Prefix + prefix)}" : "")
            + (after is null ? "" : $"&startOffset={Uri.EscapeDataString(after)}");
        string? pageToken = null;
        do
        {
            var (entries, next) = await _retry.ExecuteAsync(
                async token => await PageAsync(prefix, pageToken is null ? query : $"{query}&pageToken={Uri.EscapeDataString(pageToken)}", token), cancellationToken);
            foreach (var entry in entries)
            {
                if (startAfter is null || ObjectKey.CompareUtf8(entry.Key.Value, startAfter) > 0)
                    yield return entry;
            }

            pageToken = next;
        }
        while (pageToken is not null);
    }

    private string Name(ObjectKey key) => _url.Prefix + key.Value;

    private async ValueTask<GcsObject?> LookUpAsync(ObjectKey key, string name, CancellationToken cancellationToken)
    {
        using var answer = await _client.SendAsync(
            new(HttpMethod.Get, $"{_bucketPath}/{Uri.EscapeDataString(name)}?fields={Fields}", $"look up '{key}'") { Passing = [HttpStatusCode.NotFound] }, cancellationToken);
        if (answer.Status == HttpStatusCode.NotFound)
        {
            await DemandBucketAsync(answer.Refusal, cancellationToken);
            return null;
        }

        _bucketIsThere = true;
        return await GcsObject.ReadAsync(answer, cancellationToken);
    }

    /// <summary>One request: the headers of a media answer tell all but the SHA-256, which is custom metadata.</summary>
    private async ValueTask<ObjectRead?> OpenOnceAsync(ObjectKey key, string name, ObjectRange? range, bool asStored, CancellationToken cancellationToken)
    {
        var request = new GcsRequest(HttpMethod.Get, $"download/{_bucketPath}/{Uri.EscapeDataString(name)}?alt=media", $"read '{key}'")
        {
            Passing = [HttpStatusCode.NotFound],
            AcceptsGzip = asStored,
        };
        if (range is { } wanted)
            request.Range = (wanted.Offset, wanted.Length > long.MaxValue - wanted.Offset ? null : wanted.Offset + wanted.Length - 1);
        var answer = await _client.SendAsync(request, cancellationToken);
        try
        {
            if (answer.Status == HttpStatusCode.NotFound)
            {
                using (answer)
                    await DemandBucketAsync(answer.Refusal, cancellationToken);
                return null;
            }

            _bucketIsThere = true;
            var storedAs = answer.Header("x-goog-stored-content-encoding");
            if (storedAs == "gzip" && !asStored)
            {
                // docs/transcoding: an object that somebody stored with Content-Encoding: gzip comes unpacked, without ranges, to who does not accept gzip. Its own bytes come to who does.
                answer.Dispose();
                return await OpenOnceAsync(key, name, range, asStored: true, cancellationToken);
            }

            var (info, crc) = await DescribeAsync(key, name, answer, cancellationToken);
            var (offset, length) = range?.Within(info.Length) ?? (0, info.Length);
            // A service may give the whole where a part was asked (RFC 9110 §14.2); Google's does not, unless it unpacks.
            if (answer.Status == HttpStatusCode.OK ? length != info.Length : answer.PartOffset != offset || answer.PartEnd != offset + length)
                throw new StoreException(StoreError.Corrupt, $"Cloud Storage gave another part of '{key}' than the {length} bytes from {offset} of {info.Length} that were asked.");
            var body = await answer.BodyAsync(cancellationToken);
            if (length == info.Length && crc is { } whole)
                body = new Crc32CStream(body, key, length, whole);
            return new ObjectRead(info, offset, length, new RemoteContent(body, answer, key, length, _client.IdleTimeout));
        }
        catch
        {
            answer.Dispose();
            throw;
        }
    }

    /// <summary>The generation, length and times of a media answer. Google's test bench leaves some headers out; then the metadata of that generation is asked for.</summary>
    private async ValueTask<(ObjectInfo Info, uint? Crc32C)> DescribeAsync(ObjectKey key, string name, GcsAnswer answer, CancellationToken cancellationToken)
    {
        var generation = answer.Header("x-goog-generation")
            ?? throw new StoreException(StoreError.Misconfigured, $"What answers at {_client.Endpoint} does not do so as Cloud Storage does: no x-goog-generation.");
        var length = answer.Status == HttpStatusCode.PartialContent ? answer.PartTotal
            : long.TryParse(answer.Header("x-goog-stored-content-length"), NumberStyles.None, CultureInfo.InvariantCulture, out var stored) ? stored : answer.Length;
        if (length is { } known && answer.LastModified is { } modified)
            return (new ObjectInfo(key, known, generation, answer.ContentType, null, modified), answer.Crc32C);
        using var metadata = await _client.SendAsync(
            new(HttpMethod.Get, $"{_bucketPath}/{Uri.EscapeDataString(name)}?generation={generation}&fields={Fields}", $"look up '{key}'") { Passing = [HttpStatusCode.NotFound] },
            cancellationToken);
        if (metadata.Status == HttpStatusCode.NotFound)
            throw new StoreException(StoreError.Unavailable, $"'{key}' was replaced while it was opened.");
        var found = await GcsObject.ReadAsync(metadata, cancellationToken);
        return (found.Info(key), answer.Crc32C ?? found.Crc32C);
    }

    private async ValueTask<(List<ObjectEntry> Entries, string? Next)> PageAsync(string prefix, string target, CancellationToken cancellationToken)
    {
        using var answer = await _client.SendAsync(new(HttpMethod.Get, target, $"list '{prefix}'"), cancellationToken);
        _bucketIsThere = true;
        using var page = await answer.JsonAsync(MaxPageBytes, cancellationToken);
        var entries = new List<ObjectEntry>();
        if (page.RootElement.TryGetProperty("items", out var items))
        {
            foreach (var item in items.EnumerateArray())
            {
                var found = GcsObject.Read(item);
                // What others put there may have names that are no keys of ours ("folders" that end in a slash).
                if (found.Name.StartsWith(_url.Prefix, StringComparison.Ordinal) && ObjectKey.TryParse(found.Name[_url.Prefix.Length..], out var key))
                    entries.Add(new(key, found.Size, found.Generation, found.Created));
            }
        }

        return (entries, page.RootElement.TryGetProperty("nextPageToken", out var next) ? next.GetString() : null);
    }

    /// <summary>
    /// What 404 means: an object that is absent is a value, a bucket that is missing is the operator's mistake. Google says both alike, so the bucket is asked once, by the right
    /// that reading needs anyway (<c>storage.buckets.get</c> is often withheld). A bucket that is deleted afterwards is known by its message, which is no contract.
    /// </summary>
    private async ValueTask DemandBucketAsync(GcsRefusal refusal, CancellationToken cancellationToken)
    {
        if (refusal.Message.Contains("bucket does not exist", StringComparison.OrdinalIgnoreCase))
            throw refusal.NoBucket(_url);
        if (_bucketIsThere)
            return;
        try
        {
            using var answer = await _client.SendAsync(new(HttpMethod.Get, $"{_bucketPath}?maxResults=1&fields=nextPageToken", "find the bucket"), cancellationToken);
        }
        catch (StoreException e) when (e.Error == StoreError.Denied)
        {
            // Who may not list is refused by a bucket that is there; of one that is missing he is told so.
        }

        _bucketIsThere = true;
    }
}

/// <summary>What Cloud Storage allows as an object's name beyond an <see cref="ObjectKey"/> (docs/objects#naming).</summary>
internal static class GcsName
{
    public static bool IsPossible(string name) => Problem(name) is null;

    public static string? Problem(string name) =>
        System.Text.Encoding.UTF8.GetByteCount(name) > ObjectKey.MaxUtf8Bytes ? $"with the store's prefix it is longer than {ObjectKey.MaxUtf8Bytes} bytes"
        : name.StartsWith(".well-known/acme-challenge/", StringComparison.Ordinal) ? "Cloud Storage keeps names that start with '.well-known/acme-challenge/' for itself"
        : null;
}

/// <summary>An object's resource, as far as it is of use here.</summary>
internal sealed record GcsObject(string Name, string Generation, long Size, string ContentType, uint? Crc32C, DateTimeOffset Created, string? Sha256, string? WriteId)
{
    /// <summary>Custom metadata: lower-case hex of the whole object, when it was known before the upload.</summary>
    public const string Sha256Key = "sha256";

    /// <summary>Custom metadata: of the one call that wrote this version, so that a call whose answer was lost knows its own.</summary>
    public const string WriteIdKey = "write-id";

    /// <summary>More than all of the metadata that an object may have.</summary>
    private const int MaxBytes = 256 * 1024;

    public ObjectInfo Info(ObjectKey key) => new(key, Size, Generation, ContentType, Sha256, Created);

    public static async ValueTask<GcsObject> ReadAsync(GcsAnswer answer, CancellationToken cancellationToken)
    {
        using var json = await answer.JsonAsync(MaxBytes, cancellationToken);
        return Read(json.RootElement);
    }

    /// <exception cref="StoreException"><see cref="StoreError.Misconfigured"/>: it is no object's resource.</exception>
    public static GcsObject Read(JsonElement json)
    {
        var metadata = json.TryGetProperty("metadata", out var custom) && custom.ValueKind == JsonValueKind.Object ? custom : default;
        return new(
            Text(json, "name") ?? throw Strange("name"),
            Text(json, "generation") ?? throw Strange("generation"),
            long.TryParse(Text(json, "size"), NumberStyles.None, CultureInfo.InvariantCulture, out var size) ? size : throw Strange("size"),
            Text(json, "contentType") ?? "application/octet-stream",
            Text(json, "crc32c") is { } crc ? ParseCrc32C(crc) : null,
            // Whole seconds, as a media answer has no more, and an object must look the same however it is looked at.
            DateTimeOffset.TryParse(Text(json, "timeCreated"), CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var created) ? WholeSeconds(created)
                : throw Strange("timeCreated"),
            Text(metadata, Sha256Key) is { Length: 64 } sha && sha.All(char.IsAsciiHexDigitLower) ? sha : null,
            Text(metadata, WriteIdKey));

        static string? Text(JsonElement json, string name) =>
            json.ValueKind == JsonValueKind.Object && json.TryGetProperty(name, out var value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;

        static StoreException Strange(string what) => new(StoreError.Misconfigured, $"What answers at the endpoint does not do so as Cloud Storage does: an object without {what}.");
    }

    /// <summary>Big-endian, in base64.</summary>
    public static uint? ParseCrc32C(string text)
    {
        Span<byte> bytes = stackalloc byte[6];
        return Convert.TryFromBase64String(text, bytes, out var count) && count == sizeof(uint) ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : null;
    }

    public static string FormatCrc32C(uint crc)
    {
        Span<byte> bytes = stackalloc byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32BigEndian(bytes, crc);
        return Convert.ToBase64String(bytes);
    }

    private static DateTimeOffset WholeSeconds(DateTimeOffset time) => new(time.UtcTicks / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond, TimeSpan.Zero);
}
