using System.Buffers.Binary;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using Delivery.Edge.Tests.Requests;

namespace Delivery.Edge.Tests.Limits;

/// <summary>HTTP/2 frames on a TLS connection, for what no client library would send.</summary>
internal sealed class Http2RawClient : IDisposable
{
    private readonly TcpClient _tcp = new();
    private SslStream _tls = null!;
    private int _nextStream = 1;

    public static async Task<Http2RawClient> ConnectAsync(Uri address, TestCertificate certificate)
    {
        var client = new Http2RawClient();
        await client._tcp.ConnectAsync(address.Host, address.Port);
        client._tls = new(client._tcp.GetStream());
        await client._tls.AuthenticateAsClientAsync(new SslClientAuthenticationOptions
        {
            TargetHost = "localhost",
            ApplicationProtocols = [SslApplicationProtocol.Http2],
            RemoteCertificateValidationCallback = (_, presented, _, _) => presented?.GetCertHashString() == certificate.Thumbprint,
        });
        await client._tls.WriteAsync("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8.ToArray());
        await client.SendAsync(Frame(4, 0, 0, []));
        return client;
    }

    /// <summary>RFC 9113 §4.1.</summary>
    public static byte[] Frame(byte type, byte flags, int stream, ReadOnlySpan<byte> payload)
    {
        var frame = new byte[9 + payload.Length];
        BinaryPrimitives.WriteUInt32BigEndian(frame, (uint)payload.Length << 8 | type);
        frame[4] = flags;
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(5), stream);
        payload.CopyTo(frame.AsSpan(9));
        return frame;
    }

    public static byte[] Reset(int stream) => Frame(3, 0, stream, [0, 0, 0, 8]);

    /// <summary>A whole GET (END_STREAM, END_HEADERS); RFC 7541: indexed :method GET and :scheme https, :path and :authority as literals.</summary>
    public byte[] Get(string target, out int stream)
    {
        stream = _nextStream;
        _nextStream += 2;
        var path = Encoding.ASCII.GetBytes(target);
        // An integer with a 7-bit prefix (RFC 7541 §5.1).
        byte[] length = path.Length < 127 ? [(byte)path.Length] : path.Length - 127 < 128 ? [127, (byte)(path.Length - 127)] : [127, (byte)((path.Length - 127) & 127 | 128), (byte)((path.Length - 127) >> 7)];
        return Frame(1, 5, stream, [0x82, 0x87, 0x04, .. length, .. path, 0x01, 4, .. "edge"u8]);
    }

    public async Task SendAsync(byte[] bytes) => await _tls.WriteAsync(bytes);

    /// <summary>Sends the same pieces again and again until the edge ends the connection.</summary>
    public async Task FloodAsync(params byte[][] pieces)
    {
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        try
        {
            while (true)
            {
                foreach (var piece in pieces)
                    await _tls.WriteAsync(piece, bound.Token);
            }
        }
        catch (IOException)
        {
            // Ended by the edge.
        }
    }

    /// <summary>Reads frames until one is of a type, and gives its stream; -1 when the connection ended.</summary>
    public async Task<int> UntilFrameAsync(byte type)
    {
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        var header = new byte[9];
        try
        {
            while (true)
            {
                await _tls.ReadExactlyAsync(header, bound.Token);
                await _tls.ReadExactlyAsync(new byte[header[0] << 16 | header[1] << 8 | header[2]], bound.Token);
                if (header[3] == type)
                    return BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(5));
            }
        }
        catch (Exception e) when (e is IOException)
        {
            return -1;
        }
    }

    public void Dispose()
    {
        _tls?.Dispose();
        _tcp.Dispose();
    }
}
