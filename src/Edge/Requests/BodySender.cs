using System.IO.Pipelines;
using Microsoft.AspNetCore.Http.Features;

namespace Delivery.Edge.Requests;

/// <summary>
/// The one way in which body bytes leave: start the response, take a large span of its own buffer, fill it, flush. Large spans make large
/// segments and TLS records; <c>WriteAsync</c> would copy in 4 KiB blocks and cost twice as much over TLS. An own transport would take this class's place.
/// </summary>
internal sealed class BodySender
{
    private IHttpResponseBodyFeature _body = null!;
    private PipeWriter _writer = null!;

    public bool Started { get; private set; }

    /// <summary>Bytes handed over in this response.</summary>
    public long SentBytes { get; private set; }

    public int UnflushedBytes { get; private set; }

    public void Attach(IHttpResponseBodyFeature body)
    {
        _body = body;
        (Started, SentBytes, UnflushedBytes) = (false, 0, 0);
    }

    /// <summary>Fixes status and headers. Before this, Kestrel would hand out spans of another buffer and copy them later.</summary>
    public Task StartAsync()
    {
        Started = true;
        var task = _body.StartAsync();
        _writer = _body.Writer;
        return task;
    }

    public Span<byte> GetSpan(int size) => _writer.GetSpan(size);

    /// <summary>As <see cref="GetSpan"/>, for what may be filled after an await.</summary>
    public Memory<byte> GetMemory(int size) => _writer.GetMemory(size);

    public void Advance(int bytes)
    {
        _writer.Advance(bytes);
        SentBytes += bytes;
        UnflushedBytes += bytes;
    }

    public void Write(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(GetSpan(bytes.Length));
        Advance(bytes.Length);
    }

    /// <summary>Needed after the last byte as well: Kestrel by itself flushes headers only. Hands the bytes to the transport and waits while the client is slow; false when the client is gone.</summary>
    public async ValueTask<bool> FlushAsync()
    {
        UnflushedBytes = 0;
        var result = await _writer.FlushAsync();
        return !result.IsCompleted && !result.IsCanceled;
    }
}
