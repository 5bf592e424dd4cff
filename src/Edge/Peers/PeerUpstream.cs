using System.Buffers.Text;
using System.Globalization;
using System.Net;
using System.Text;
using Delivery.Edge.Fills;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Delivery.TokenAuth;

namespace Delivery.Edge.Peers;

/// <summary>Another edge, by its peer port: a shield, or a sibling. Each question is a URL signed with the peers' key ring for <see cref="PeerFields.Validity"/>.</summary>
internal sealed class PeerUpstream(string name, string address, string? caPath, bool isSibling, EdgeOptions options, KeyRingFile keys, TimeProvider time) : IUpstream, IAsyncDisposable
{
    // Version names are ETags and generations; what is longer is no version of ours.
    private const int MaxVersionLength = 1024;

    private readonly HttpRangeClient _client = new(name, address, caPath, options);

    public string Name { get; } = name;

    public bool IsStore => false;

    public async ValueTask<UpstreamObject?> FindAsync(UpstreamQuery query, CancellationToken cancellationToken)
    {
        var asked = time.GetUtcNow();
        await using var part = await _client.HeadAsync(Ask(query), cancellationToken);
        return part is null ? null : Describe(query, part, asked);
    }

    public async ValueTask<UpstreamRead?> OpenAsync(UpstreamQuery query, ObjectRange range, CancellationToken cancellationToken)
    {
        var asked = time.GetUtcNow();
        if (await _client.OpenAsync(Ask(query), range, cancellationToken) is not { } part)
            return null;
        try
        {
            return new(this, Describe(query, part, asked), part.Offset, part.Length, part.Content, part);
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

    private HttpQuestion Ask(UpstreamQuery query)
    {
        var signed = NativeScheme.Instance.Sign(keys.Current, HttpRangeClient.Escape(query.Path), new() { Expires = time.GetUtcNow() + PeerFields.Validity });
        var fields = new List<(string, string)>
        {
            (PeerFields.LogSequence, query.Sequence.ToString(CultureInfo.InvariantCulture)),
            (PeerFields.Loop, query.LoopOf(options.EdgeId)),
        };
        if (isSibling)
            fields.Add((PeerFields.Peer, PeerFields.Sibling));
        return new(signed) { Fields = fields, Judge = response => Judge(response, query.Sequence) };
    }

    private UpstreamException? Judge(HttpResponseMessage response, long sequence)
    {
        // Whoever answers without it is no peer port, and its "not found" is not the store's.
        if (HttpPart.Field(response, PeerFields.LogSequence) is not { } field || !ContentRangeField.TryParseNumber(field, out var applied))
        {
            return (int)response.StatusCode < 500
                ? new(FillOutcome.Denied, Name, $"It answered {(int)response.StatusCode}, and not as a peer does: another port, another key ring, or a clock that is wrong by a minute.")
                : null;
        }

        if (applied < sequence)
            return new(FillOutcome.Lagging, Name, $"It has applied {applied}, and {sequence} is needed.") { CanRetry = true };
        return response.StatusCode == HttpStatusCode.LoopDetected ? new(FillOutcome.Denied, Name, "The question has come round to an edge that it passed.") : null;
    }

    private UpstreamObject Describe(UpstreamQuery query, HttpPart part, DateTimeOffset asked)
    {
        if (part.Header(PeerFields.ObjectVersion) is not { Length: > 0 and <= MaxVersionLength } encoded || !TryDecode(encoded, out var version))
            throw _client.Contradictory("It does not say which version it sends.");
        var info = new ObjectInfo(
            query.Key, part.Total, version, part.Header("Content-Type") ?? "", ReprDigest.Sha256(part.Response), part.Response.Content.Headers.LastModified ?? DateTimeOffset.UnixEpoch);
        return new(info, OriginFreshness.Of(Name, part.Response, asked, time.GetUtcNow()));
    }

    private static bool TryDecode(string encoded, out string text)
    {
        Span<byte> bytes = stackalloc byte[MaxVersionLength];
        text = "";
        if (!Base64Url.IsValid(encoded) || !Base64Url.TryDecodeFromChars(encoded, bytes, out var written))
            return false;
        text = Encoding.UTF8.GetString(bytes[..written]);
        return text.Length > 0;
    }
}
