using System.Globalization;
using Delivery.Edge.Fills;
using Delivery.ObjectStore;

namespace Delivery.Edge.Upstreams;

/// <summary>
/// Any HTTP origin that serves the public paths below its address. A version is its strong entity-tag, else its time of change and length; what has neither cannot be told from its
/// successor, so it is refused, unless the name is a digest of the content.
/// </summary>
internal sealed class HttpUpstream(string name, string address, string? caPath, EdgeOptions options, TimeProvider time) : IUpstream, IAsyncDisposable
{
    private const string ETagPrefix = "etag:";

    private readonly HttpRangeClient _client = new(name, address, caPath, options);
    private readonly string _edgeId = options.EdgeId;

    public string Name { get; } = name;

    public bool IsStore => false;

    public async ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken)
    {
        var asked = time.GetUtcNow();
        await using var part = await _client.HeadAsync(Ask(query), cancellationToken);
        return part is null ? null : Describe(query, part.Response, part.Total, asked);
    }

    public async ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken)
    {
        var asked = time.GetUtcNow();
        var part = await _client.OpenAsync(Ask(query), range, cancellationToken);
        if (part is null)
            return null;
        try
        {
            return new(this, Describe(query, part.Response, part.Total, asked), part.Offset, part.Length, part.Content, part);
        }
        catch
        {
            await part.DisposeAsync();
            throw;
        }
    }

    public ValueTask DisposeAsync()
    {
        _client.Dispose();
        return ValueTask.CompletedTask;
    }

    private HttpQuestion Ask(UpstreamQuery query) => new(HttpRangeClient.Escape(query.Path))
    {
        Fields = [("CDN-Loop", query.LoopOf(_edgeId))],
        // RFC 9110 §13.1.5: only a strong entity-tag; a time of change is strong under conditions that nobody can check here.
        IfRange = query.Expected?.Version is { } version && version.StartsWith(ETagPrefix, StringComparison.Ordinal) ? version[ETagPrefix.Length..] : null,
        IsExpected = query.Expected is { } expected ? (response, total) => VersionOf(query, response, total) == expected.Version : null,
    };

    private UpstreamObject Describe(UpstreamQuery query, HttpResponseMessage response, long total, DateTimeOffset asked)
    {
        var version = VersionOf(query, response, total)
            ?? throw new UpstreamException(FillOutcome.Uncacheable, Name, "It names neither an entity-tag nor a time of change, so two versions could not be told apart.");
        var info = new ObjectInfo(query.Key, total, version, HttpPart.Field(response, "Content-Type") ?? "", ReprDigest.Sha256(response), LastModified(response) ?? DateTimeOffset.UnixEpoch);
        return new(info, OriginFreshness.Of(Name, response, asked, time.GetUtcNow()));
    }

    private static string? VersionOf(UpstreamQuery query, HttpResponseMessage response, long total)
    {
        // RFC 9110 §8.8.3: a weak tag may stand for other bytes.
        if (HttpPart.Field(response, "ETag") is { } tag && IsStrong(tag))
            return ETagPrefix + tag;
        if (LastModified(response) is { } modified)
            return string.Create(CultureInfo.InvariantCulture, $"lm:{modified.ToUnixTimeSeconds()}:{total}");
        return Objects.EdgeObject.IsNamedByContent(query.Path) ? string.Create(CultureInfo.InvariantCulture, $"name:{total}") : null;
    }

    private static bool IsStrong(string tag) => tag.Length is >= 2 and <= 512 && tag[0] == '"' && tag[^1] == '"' && !tag.AsSpan(1, tag.Length - 2).Contains('"') && tag.All(c => c is > ' ' and not '\x7f');

    private static DateTimeOffset? LastModified(HttpResponseMessage response) => response.Content.Headers.LastModified;
}
