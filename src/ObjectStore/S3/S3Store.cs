using System.Net;
using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using System.Security.Cryptography;
using System.Text;
using Amazon.Runtime;
using Amazon.S3;
using Amazon.S3.Model;
using Delivery.ObjectStore.Remote;
using Polly;

namespace Delivery.ObjectStore.S3;

/// <summary>The S3 driver: AWS by its SDK, and what speaks its protocol (tested on Ceph's RadosGW). Decisions and limits: docs/adr/0016-s3-driver.md.</summary>
/// <remarks>
/// <code>
/// WriteAsync: 1 read the first part ─▶ all of it? ─▶ 2 one PUT, from memory, tried again
///                                  └▶ larger: 3 judge early ─▶ condition, and a server that judges none at Complete? ─▶ 4 one PUT, streamed, tried once
///                                                          └▶ 5 parts, each tried again ─▶ 6 complete, or abort                   ─▶ 7 look at what stands there
/// </code>
/// A write carries an identifier in the object's metadata. Where an answer was lost, it alone tells our own commit from somebody else's.
/// </remarks>
public sealed class S3Store : IObjectStore
{
    /// <summary>User metadata, <c>x-amz-meta-…</c>.</summary>
    internal const string Sha256Metadata = "sha256", WriteIdMetadata = "write-id";

    /// <summary>S3's bound on a key, prefix included.</summary>
    private const int MaxKeyUtf8Bytes = 1024;

    /// <summary>AWS: "Processing of a CompleteMultipartUpload request could take several minutes", with blanks in the body meanwhile.</summary>
    private static readonly TimeSpan CompleteTimeout = TimeSpan.FromMinutes(3);

    /// <summary>For the abort of an upload, which runs also when the caller has gone.</summary>
    private static readonly TimeSpan AbortTimeout = TimeSpan.FromSeconds(30);

    private readonly StoreUrl _url;
    private readonly S3Options _s3;
    private readonly StoreClientOptions _options;
    private readonly ResiliencePipeline _retry;
    private readonly HttpClient _http;
    private readonly AmazonS3Client _client;
    private volatile bool _bucketSeen;

    private S3Store(StoreUrl url, S3Options s3, StoreClientOptions options)
    {
        (_url, _s3, _options, _retry) = (url, s3, options, StoreRetry.Of(options));
        _http = RemoteHttp.Client(new LeaveForLargeBodies(RemoteHttp.Handler(options)));
        try
        {
            _client = s3.Client(_http);
        }
        catch
        {
            _http.Dispose();
            throw;
        }
    }

    internal static IObjectStore Open(StoreUrl url, StoreClientOptions options) => new S3Store(url, S3Options.Of(url), options);

    public async ValueTask<ObjectInfo?> FindAsync(ObjectKey key, CancellationToken cancellationToken) => (await LookAsync(key, cancellationToken))?.Info;

    public async ValueTask<ObjectRead?> OpenReadAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken)
    {
        if (range is { } asked)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(asked.Offset, nameof(range));
            ArgumentOutOfRangeException.ThrowIfLessThan(asked.Length, 1, nameof(range));
        }

        return await _retry.ExecuteAsync(async token => await GetAsync(key, range, token), cancellationToken);
    }

    public async ValueTask<ObjectInfo> WriteAsync(ObjectKey key, Stream content, ObjectWrite write, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        if (Encoding.UTF8.GetByteCount(_url.Prefix) + Encoding.UTF8.GetByteCount(key.Value) > MaxKeyUtf8Bytes)
            throw new StoreException(StoreError.KeyRefused, $"'{key}' and the store's prefix are longer than the {MaxKeyUtf8Bytes} bytes that S3 allows.");
        if (!MediaTypeHeaderValue.TryParse(write.ContentType, out _))
            throw new ArgumentException($"'{write.ContentType}' is not a media type, which S3's client insists on.", nameof(write));

        using var reader = new ContentReader(key, content, write);
        var upload = new Upload(key, NameOf(key), write, Guid.NewGuid().ToString("n"));
        using var memory = new PartBuffer();

        // 1. Read the first part.
        var size = PartSizes.Of(1, _s3.PartSize, write.ExpectedLength);
        var first = memory.Of((int)Math.Max(1, Math.Min(size, write.ExpectedLength ?? size)));
        first = first[..await reader.FillAsync(first, cancellationToken)];
        string version;
        if (reader.AtEnd)
        {
            // 2. One PUT. The digest is known, so it goes with the object.
            upload.Sha256 = reader.Sha256;
            version = await CommitAsync(upload, token => PutAsync(upload, first, null, token), _retry, cancellationToken);
            return await CommittedAsync(upload, reader.Length, version, cancellationToken);
        }

        // 3. Judge early: nobody wants to send gigabytes for a 412. What decides is below.
        upload.Sha256 = write.ExpectedSha256;
        await JudgeAsync(upload, cancellationToken);
        version = write.Precondition != WritePrecondition.None && !_s3.ConditionalMultipart && write.ExpectedLength <= PartSizes.MaxPutBytes
            // 4. One PUT, streamed: it cannot be sent again, and the server judges the condition when it commits.
            ? await CommitAsync(upload, token => PutAsync(upload, first, reader, token), ResiliencePipeline.Empty, cancellationToken)
            : await MultipartAsync(upload, reader, memory, first.Length, cancellationToken);
        return await CommittedAsync(upload, reader.Length, version, cancellationToken);
    }

    public async ValueTask<bool> DeleteAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        // S3's answer is the same whether there was an object or not.
        if (await LookAsync(key, cancellationToken) is null)
            return false;
        await _retry.ExecuteAsync(
            async token => await CallAsync($"delete '{key}' from {_url.Bucket}", timer => _client.DeleteObjectAsync(_url.Bucket, NameOf(key), timer.Token), token), cancellationToken);
        return true;
    }

    public async IAsyncEnumerable<ObjectEntry> ListAsync(string prefix, string? startAfter, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        var request = new ListObjectsV2Request
        {
            BucketName = _url.Bucket,
            Prefix = _url.Prefix + prefix,
            StartAfter = startAfter is { Length: > 0 } ? _url.Prefix + startAfter : null,
        };
        do
        {
            var page = await _retry.ExecuteAsync(
                async token => await CallAsync($"list '{prefix}' of {_url.Bucket}", timer => _client.ListObjectsV2Async(request, timer.Token), token), cancellationToken);
            foreach (var entry in page.S3Objects ?? [])
            {
                // Names that somebody else made and that are no keys of ours, such as the "folders" of consoles, are left out as the File driver leaves out its own.
                if (ObjectKey.TryParse(entry.Key[_url.Prefix.Length..], out var key))
                    yield return new ObjectEntry(key, entry.Size ?? 0, Version(entry.ETag), WholeSeconds(entry.LastModified));
            }

            request.ContinuationToken = page.NextContinuationToken;
        }
        while (request.ContinuationToken is not null);
    }

    /// <summary>Closes the connections that nobody uses. What is open of the store may be read to its end.</summary>
    public void Dispose()
    {
        _client.Dispose();
        _http.Dispose();
    }

    private string NameOf(ObjectKey key) => _url.Prefix + key.Value;

    private ValueTask<Standing?> LookAsync(ObjectKey key, CancellationToken cancellationToken) => _retry.ExecuteAsync(async token => await HeadAsync(key, token), cancellationToken);

    /// <summary>One HEAD. Its refusals have no body, so a GET asks for the reason, and whether it is the bucket that is missing, until it is known to exist.</summary>
    private async Task<Standing?> HeadAsync(ObjectKey key, CancellationToken cancellationToken) =>
        await CallAsync<Standing?>($"find '{key}' in {_url.Bucket}", async timer =>
        {
            try
            {
                var answer = await _client.GetObjectMetadataAsync(new GetObjectMetadataRequest { BucketName = _url.Bucket, Key = NameOf(key) }, timer.Token);
                _bucketSeen = true;
                return new(Info(key, answer.ContentLength, answer.ETag, answer.Headers, answer.Metadata, answer.LastModified), answer.Metadata[WriteIdMetadata]);
            }
            catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.NotFound && _bucketSeen)
            {
                return null;
            }
            catch (AmazonS3Exception e) when ((int)e.StatusCode is >= 300 and < 500)
            {
                timer.Allow(_options.FirstByteTimeout);
                try
                {
                    (await _client.GetObjectAsync(new GetObjectRequest { BucketName = _url.Bucket, Key = NameOf(key), ByteRange = new ByteRange(0, 0) }, timer.Token)).Dispose();
                }
                catch (AmazonS3Exception explained) when (explained.ErrorCode == "NoSuchKey")
                {
                    _bucketSeen = true;
                    return null;
                }

                // Written between the two.
                throw new StoreException(StoreError.Unavailable, $"'{key}' changed while it was looked for.", e);
            }
        }, cancellationToken);

    /// <summary>
    /// One GET, always with a range: of an answer to one without, the SDK checks the MD5 that it takes the ETag for, at the cost of an MD5, when the stream is disposed, and failing where a server's ETag is something else.
    /// </summary>
    private async Task<ObjectRead?> GetAsync(ObjectKey key, ObjectRange? range, CancellationToken cancellationToken) =>
        await CallAsync<ObjectRead?>($"read '{key}' from {_url.Bucket}", async timer =>
        {
            var (first, length) = range is { } asked ? (asked.Offset, asked.Length) : (0, long.MaxValue);
            var wanted = length >= long.MaxValue - first ? $"bytes={first}-" : $"bytes={first}-{first + length - 1}";
            GetObjectResponse answer;
            try
            {
                answer = await _client.GetObjectAsync(new GetObjectRequest { BucketName = _url.Bucket, Key = NameOf(key), ByteRange = new ByteRange(wanted) }, timer.Token);
            }
            catch (AmazonS3Exception e) when (e.ErrorCode == "NoSuchKey")
            {
                _bucketSeen = true;
                return null;
            }
            catch (AmazonS3Exception e) when (e.StatusCode == HttpStatusCode.RequestedRangeNotSatisfiable && range is null)
            {
                // An empty object has no first byte.
                return await HeadAsync(key, cancellationToken) switch
                {
                    null => null,
                    { Info.Length: 0 } standing => new ObjectRead(standing.Info, 0, 0, Stream.Null),
                    _ => throw new StoreException(StoreError.Unavailable, $"'{key}' changed while it was opened.", e),
                };
            }

            _bucketSeen = true;
            if (!ContentRangeHeaderValue.TryParse(answer.ContentRange, out var given) || given is not { From: { } from, Length: { } total } || from != first)
            {
                answer.Dispose();
                throw new StoreException(StoreError.Corrupt, $"The store gave the range '{answer.ContentRange}' of '{key}' where {wanted} was asked for.");
            }

            var info = Info(key, total, answer.ETag, answer.Headers, answer.Metadata, answer.LastModified);
            return new ObjectRead(info, from, answer.ContentLength, new RemoteContent(answer.ResponseStream, answer, key, answer.ContentLength, _options.IdleTimeout));
        }, cancellationToken);

    /// <summary>One PUT of a part in memory, or of that and the rest of the content. Gives the version.</summary>
    private async Task<string> PutAsync(Upload upload, ReadOnlyMemory<byte> part, ContentReader? rest, CancellationToken cancellationToken) =>
        await CallAsync($"write '{upload.Key}' to {_url.Bucket}", async timer =>
        {
            await using var sent = new UploadContent(part, rest, timer, _options, cancellationToken);
            var request = new PutObjectRequest
            {
                BucketName = _url.Bucket,
                Key = upload.Name,
                ContentType = upload.Write.ContentType,
                InputStream = sent,
                AutoCloseStream = false,
                // Chunks are signed as they go; what is in memory is digested before, so that checksums stand in headers, which more servers know than trailers.
                UseChunkEncoding = rest is not null,
                IfNoneMatch = upload.Write.Precondition.MustBeAbsent ? "*" : null,
                IfMatch = Tag(upload.Write.Precondition.MustMatchVersion),
            };
            if (rest is not null)
                request.Headers.ContentLength = upload.Write.ExpectedLength!.Value;
            upload.Describe(request.Metadata);
            try
            {
                return Version((await _client.PutObjectAsync(request, timer.Token)).ETag);
            }
            catch (Exception) when (sent.Fault is { } fault)
            {
                throw fault;
            }
        }, cancellationToken);

    /// <summary>
    /// Runs a commit, again as the pipeline allows. A condition that fails after an answer was lost may have failed on our own commit, so what stands there is looked at: with our identifier it is a success,
    /// without it nobody can say (it may have been replaced since), which is <see cref="StoreError.Unavailable"/> and never a failed precondition.
    /// </summary>
    private async ValueTask<string> CommitAsync(Upload upload, Func<CancellationToken, Task<string>> commit, ResiliencePipeline retry, CancellationToken cancellationToken)
    {
        StoreException? lost = null;
        try
        {
            return await retry.ExecuteAsync(async token =>
            {
                try
                {
                    return await commit(token);
                }
                catch (StoreException e) when (e.CanRetry && !S3Errors.WasRefused(e))
                {
                    // The one that says least is the one to remember.
                    if (lost is null || S3Errors.LostRace(lost))
                        lost = e;
                    throw;
                }
            }, cancellationToken);
        }
        catch (StoreException e) when (lost is not null && e.Error is StoreError.PreconditionFailed or StoreError.Unavailable)
        {
            Standing? standing = null;
            try
            {
                standing = await HeadAsync(upload.Key, cancellationToken);
            }
            catch (StoreException)
            {
                // As silent as before.
            }

            if (standing?.WriteId == upload.Id)
                return standing.Info.Version;
            throw e.CanRetry || S3Errors.LostRace(lost) ? e : new StoreException(StoreError.Unavailable, $"Could not write '{upload.Key}' to {_url.Bucket}: an answer was lost, and whether it was of a commit cannot be told.", lost);
        }
    }

    /// <summary>Step 3, and before a Complete that judges nothing itself.</summary>
    private async ValueTask JudgeAsync(Upload upload, CancellationToken cancellationToken)
    {
        var precondition = upload.Write.Precondition;
        if (precondition == WritePrecondition.None)
            return;
        var current = (await LookAsync(upload.Key, cancellationToken))?.Info.Version;
        if (precondition.MustBeAbsent && current is not null)
            throw new StoreException(StoreError.PreconditionFailed, $"'{upload.Key}' exists already.");
        if (precondition.MustMatchVersion is { } wanted && wanted != current)
            throw new StoreException(StoreError.PreconditionFailed, $"'{upload.Key}' is {(current is null ? "absent" : $"version {current}")}, not version {wanted}.");
    }

    private async Task<string> MultipartAsync(Upload upload, ContentReader reader, PartBuffer first, int filled, CancellationToken cancellationToken)
    {
        var action = $"write '{upload.Key}' to {_url.Bucket}";
        var begin = new InitiateMultipartUploadRequest { BucketName = _url.Bucket, Key = upload.Name, ContentType = upload.Write.ContentType };
        upload.Describe(begin.Metadata);
        var id = (await _retry.ExecuteAsync(async token => await CallAsync(action, timer => _client.InitiateMultipartUploadAsync(begin, timer.Token), token), cancellationToken)).UploadId;
        try
        {
            // 5. One part is on its way while the next one is read.
            var parts = await SendPartsAsync(upload, id, reader, first, filled, cancellationToken);

            // 6. Complete: the commit.
            if (!_s3.ConditionalMultipart)
                await JudgeAsync(upload, cancellationToken);
            return await CommitAsync(upload, token => CompleteAsync(upload, id, parts, token), _retry, cancellationToken);
        }
        catch
        {
            await AbortAsync(upload, id);
            throw;
        }
    }

    private async Task<List<PartETag>> SendPartsAsync(Upload upload, string id, ContentReader reader, PartBuffer first, int filled, CancellationToken cancellationToken)
    {
        var parts = new List<PartETag>();
        using var second = new PartBuffer();
        var (current, next) = (first, second);
        var part = current.Of(filled);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        for (var number = 1; ; number++)
        {
            var sending = SendPartAsync(upload, id, number, part, stop.Token);
            if (reader.AtEnd)
            {
                parts.Add(await sending);
                return parts;
            }

            try
            {
                if (number == PartSizes.MaxParts)
                    throw new StoreException(StoreError.Full, $"The content of '{upload.Key}' is longer than {PartSizes.MaxParts} parts hold.");
                part = next.Of(PartSizes.Of(number + 1, _s3.PartSize, upload.Write.ExpectedLength));
                part = part[..await reader.FillAsync(part, cancellationToken)];
            }
            catch
            {
                // The memory is the part's until it has come to its end.
                await stop.CancelAsync();
                await ((Task)sending).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                throw;
            }

            parts.Add(await sending);
            (current, next) = (next, current);
        }
    }

    private async Task<PartETag> SendPartAsync(Upload upload, string id, int number, ReadOnlyMemory<byte> part, CancellationToken cancellationToken) =>
        await _retry.ExecuteAsync(async token => await CallAsync($"write part {number} of '{upload.Key}' to {_url.Bucket}", async timer =>
        {
            await using var sent = new UploadContent(part, null, timer, _options, token);
            var request = new UploadPartRequest
            {
                BucketName = _url.Bucket,
                Key = upload.Name,
                UploadId = id,
                PartNumber = number,
                PartSize = part.Length,
                InputStream = sent,
                UseChunkEncoding = false,
            };
            return new PartETag(await _client.UploadPartAsync(request, timer.Token));
        }, token), cancellationToken);

    private async Task<string> CompleteAsync(Upload upload, string id, List<PartETag> parts, CancellationToken cancellationToken)
    {
        var action = $"complete '{upload.Key}' in {_url.Bucket}";
        var conditional = _s3.ConditionalMultipart;
        var answer = await CallAsync(action, timer =>
        {
            timer.Allow(CompleteTimeout);
            return _client.CompleteMultipartUploadAsync(
                new CompleteMultipartUploadRequest
                {
                    BucketName = _url.Bucket,
                    Key = upload.Name,
                    UploadId = id,
                    PartETags = parts,
                    IfNoneMatch = conditional && upload.Write.Precondition.MustBeAbsent ? "*" : null,
                    IfMatch = conditional ? Tag(upload.Write.Precondition.MustMatchVersion) : null,
                },
                timer.Token);
        }, cancellationToken);
        // AWS may say 200 before it has failed, and put the error in the body.
        if (answer.ETag is null && answer.Location is null)
            throw new StoreException(StoreError.Unavailable, $"Could not {action}: the answer does not say that it is complete.");
        return answer.ETag is null ? VersionOf(parts) : Version(answer.ETag);
    }

    /// <summary>Gives back what the parts take. If this fails too, the bucket's rule for incomplete uploads is the last resort (docs/adr/0016-s3-driver.md).</summary>
    private async Task AbortAsync(Upload upload, string id)
    {
        using var bounded = new CancellationTokenSource(AbortTimeout);
        try
        {
            await _retry.ExecuteAsync(async token => await CallAsync($"abort '{upload.Key}' in {_url.Bucket}", async timer =>
            {
                try
                {
                    return await _client.AbortMultipartUploadAsync(_url.Bucket, upload.Name, id, timer.Token);
                }
                catch (AmazonS3Exception e) when (e.ErrorCode == "NoSuchUpload")
                {
                    return null;
                }
            }, token), bounded.Token);
        }
        catch (Exception e) when (e is StoreException or OperationCanceledException)
        {
            // What made the upload fail is what the caller is told.
        }
    }

    /// <summary>7. What <see cref="FindAsync"/> tells of our write; told by us where somebody has replaced it already, or where nobody answers any more.</summary>
    private async ValueTask<ObjectInfo> CommittedAsync(Upload upload, long length, string version, CancellationToken cancellationToken)
    {
        try
        {
            if (await LookAsync(upload.Key, cancellationToken) is { } standing && standing.WriteId == upload.Id)
                return standing.Info;
        }
        catch (Exception e) when (e is StoreException or OperationCanceledException)
        {
            // It is committed, whatever comes after.
        }

        return new ObjectInfo(upload.Key, length, version, upload.Write.ContentType, upload.Sha256, WholeSeconds(DateTime.UtcNow));
    }

    /// <summary>One request, in its time, with its failures mapped.</summary>
    private async Task<T> CallAsync<T>(string action, Func<CallTimer, Task<T>> call, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using var timer = new CallTimer(cancellationToken);
        timer.Allow(_options.ConnectTimeout + _options.FirstByteTimeout);
        try
        {
            return await call(timer);
        }
        catch (AmazonServiceException e) when (e.ErrorCode == "NoSuchKey")
        {
            // AWS, of an If-Match for an object that is not there.
            throw new StoreException(StoreError.PreconditionFailed, $"Could not {action}: there is no such object.", e);
        }
        catch (Exception e) when (S3Errors.From(action, e, timer) is { } mapped)
        {
            throw mapped;
        }
    }

    /// <summary>AWS takes RFC 9110's form. RadosGW up to 16.2 compares a PUT's If-Match with the bare digest; others with endpoints of their own take that too.</summary>
    private string? Tag(string? version) => version is null || _s3.Endpoint is not null ? version : $"\"{version}\"";

    private static string Version(string etag) => etag.Trim('"');

    /// <summary>S3's tag of an upload in parts, for servers whose answer the SDK finds none in (RadosGW): the MD5 of the parts' MD5s, and their number.</summary>
    private static string VersionOf(List<PartETag> parts)
    {
#pragma warning disable CA5351 // S3 defines it so; nothing rests on it.
        var digest = MD5.HashData(parts.SelectMany(p => Convert.FromHexString(Version(p.ETag))).ToArray());
#pragma warning restore CA5351
        return $"{Convert.ToHexStringLower(digest)}-{parts.Count}";
    }

    private static ObjectInfo Info(ObjectKey key, long length, string etag, HeadersCollection headers, MetadataCollection metadata, DateTime? modified) => new(
        key,
        length,
        Version(etag),
        headers.ContentType is { Length: > 0 } type ? type : "application/octet-stream",
        metadata[Sha256Metadata] is { Length: 64 } digest && digest.All(char.IsAsciiHexDigitLower) ? digest : null,
        WholeSeconds(modified));

    /// <summary>Headers give whole seconds, listings more.</summary>
    private static DateTimeOffset WholeSeconds(DateTime? time) =>
        time is { } known ? new DateTimeOffset(known.ToUniversalTime().Ticks / TimeSpan.TicksPerSecond * TimeSpan.TicksPerSecond, TimeSpan.Zero) : default;

    /// <summary>An object as it stands, and whose write it is.</summary>
    private sealed record Standing(ObjectInfo Info, string? WriteId);

    /// <summary>A write under way.</summary>
    private sealed class Upload(ObjectKey key, string name, ObjectWrite write, string id)
    {
        public ObjectKey Key { get; } = key;

        /// <summary>The key with the store's prefix.</summary>
        public string Name { get; } = name;

        public ObjectWrite Write { get; } = write;

        public string Id { get; } = id;

        /// <summary>Where it is known before the content is sent.</summary>
        public string? Sha256 { get; set; }

        public void Describe(MetadataCollection metadata)
        {
            metadata[WriteIdMetadata] = Id;
            if (Sha256 is not null)
                metadata[Sha256Metadata] = Sha256;
        }
    }
}
