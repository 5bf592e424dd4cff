using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Delivery.Edge.Limits;

/// <summary>
/// Bounds what a client may make an HTTP/2 connection do without asking for anything: streams it resets (CVE-2023-44487), and PING, SETTINGS, PRIORITY, CONTINUATION, empty DATA and unknown frames.
/// Kestrel bounds streams that are reset and not over yet; streams that are over at once, as hits are, it does not count. Reads the 9 bytes before each frame as they pass; beyond a
/// bound the connection is aborted, as a GOAWAY would have to be written between Kestrel's own frames. Also has <see cref="StalledStreams"/> look after the connection.
/// </summary>
internal sealed class Http2FrameGuard(LimitOptions options, StalledStreams stalled, LimitMeter meter, TimeProvider time)
{
    private readonly LimitOptions _options = options;
    private readonly LimitMeter _meter = meter;
    private readonly TimeProvider _time = time;

    /// <summary>The connection's way, after TLS.</summary>
    public ConnectionDelegate Then(ConnectionDelegate next) => connection =>
    {
        var isHttp2 = connection.Features.Get<ITlsApplicationProtocolFeature>() is { } negotiated && negotiated.ApplicationProtocol.Span.SequenceEqual("h2"u8);
        return isHttp2 ? GuardAsync(connection, next) : next(connection);
    };

    private async Task GuardAsync(ConnectionContext connection, ConnectionDelegate next)
    {
        connection.Transport = new GuardedTransport(new FrameReader(connection, this), connection.Transport.Output);
        var streams = stalled.Open();
        connection.Features.Set(streams);
        try
        {
            await next(connection);
        }
        finally
        {
            stalled.Close(streams);
        }
    }

    private sealed class GuardedTransport(PipeReader input, PipeWriter output) : IDuplexPipe
    {
        public PipeReader Input => input;

        public PipeWriter Output => output;
    }

    // Gives what the transport gives, and looks at each byte once.
    private sealed class FrameReader(ConnectionContext connection, Http2FrameGuard guard) : PipeReader
    {
        // RFC 9113 §3.4, §4.1.
        private const int PrefaceBytes = 24;
        private const int HeaderBytes = 9;
        private const byte EndStream = 1;

        private readonly PipeReader _input = connection.Transport.Input;
        private ReadOnlySequence<byte> _buffer;
        private long _seenBytes;
        private int _skip = PrefaceBytes;
        private int _headerBytes;
        private int _length;
        private byte _flags;
        private FrameType _type;
        private long _windowStart = guard._time.GetTimestamp();
        private int _resets;
        private int _controlFrames;
        private bool _stopped;

        // RFC 9113 §6.
        private enum FrameType : byte
        {
            Data = 0,
            Headers = 1,
            ResetStream = 3,
            WindowUpdate = 8,
        }

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
        {
            var read = _input.ReadAsync(cancellationToken);
            return read.IsCompletedSuccessfully ? new(Look(read.Result)) : WaitAsync(read);
        }

        public override bool TryRead(out ReadResult result)
        {
            if (!_input.TryRead(out result))
                return false;
            result = Look(result);
            return true;
        }

        public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
        {
            _seenBytes -= _buffer.Slice(0, consumed).Length;
            _buffer = default;
            _input.AdvanceTo(consumed, examined);
        }

        public override void CancelPendingRead() => _input.CancelPendingRead();

        public override void Complete(Exception? exception = null) => _input.Complete(exception);

        // Pooled: a connection waits for each of its requests here.
        [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
        private async ValueTask<ReadResult> WaitAsync(ValueTask<ReadResult> read) => Look(await read);

        private ReadResult Look(ReadResult result)
        {
            _buffer = result.Buffer;
            foreach (var segment in _buffer.Slice(_seenBytes))
                Look(segment.Span);
            _seenBytes = _buffer.Length;
            return _stopped ? new(_buffer.Slice(_buffer.End), result.IsCanceled, isCompleted: true) : result;
        }

        private void Look(ReadOnlySpan<byte> bytes)
        {
            while (!bytes.IsEmpty && !_stopped)
            {
                if (_skip > 0)
                {
                    var skipped = Math.Min(_skip, bytes.Length);
                    _skip -= skipped;
                    bytes = bytes[skipped..];
                    continue;
                }

                switch (_headerBytes++)
                {
                    case 0:
                        _length = bytes[0];
                        break;
                    case 1 or 2:
                        _length = _length << 8 | bytes[0];
                        break;
                    case 3:
                        _type = (FrameType)bytes[0];
                        break;
                    case 4:
                        _flags = bytes[0];
                        break;
                    case HeaderBytes - 1:
                        (_skip, _headerBytes) = (_length, 0);
                        Count();
                        break;
                }

                bytes = bytes[1..];
            }
        }

        private void Count()
        {
            // Requests are bounded by their rates; window updates are what a reader at full speed sends by the thousand; content is bounded by windows and sizes, unless it is none.
            if (_type is FrameType.Headers or FrameType.WindowUpdate || (_type == FrameType.Data && (_length > 0 || (_flags & EndStream) != 0)))
                return;
            if (guard._time.GetElapsedTime(_windowStart) >= guard._options.FloodWindow)
                (_windowStart, _resets, _controlFrames) = (guard._time.GetTimestamp(), 0, 0);
            if (_type == FrameType.ResetStream ? ++_resets <= guard._options.MaxResets : ++_controlFrames <= guard._options.MaxControlFrames)
                return;
            _stopped = true;
            guard._meter.Limited(_type == FrameType.ResetStream ? Limit.Http2Resets : Limit.Http2ControlFrames);
            connection.Abort(new ConnectionAbortedException("The client sent more HTTP/2 resets or control frames than a player does."));
        }
    }
}
