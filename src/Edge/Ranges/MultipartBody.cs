using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Delivery.Edge.Objects;

namespace Delivery.Edge.Ranges;

/// <summary>The frame of a <c>multipart/byteranges</c> body (RFC 9110 §14.6): what stands before each part and after the last.</summary>
internal sealed class MultipartBody
{
    private readonly List<byte[]> _headers = [];

    public MultipartBody(EdgeObject known, IReadOnlyList<(long Start, long End)> parts)
    {
        Parts = parts;
        // Random, so that no object can hold it (RFC 2046 §5.1.1).
        var boundary = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));
        ContentType = $"multipart/byteranges; boundary={boundary}";
        foreach (var (start, end) in parts)
        {
            _headers.Add(Encoding.ASCII.GetBytes(string.Create(
                CultureInfo.InvariantCulture, $"\r\n--{boundary}\r\nContent-Type: {known.ContentType}\r\nContent-Range: bytes {start}-{end - 1}/{known.Length}\r\n\r\n")));
            ContentLength += _headers[^1].Length + end - start;
        }

        End = Encoding.ASCII.GetBytes($"\r\n--{boundary}--\r\n");
        ContentLength += End.Length;
    }

    public IReadOnlyList<(long Start, long End)> Parts { get; }

    public string ContentType { get; }

    public long ContentLength { get; }

    public byte[] End { get; }

    /// <summary>Delimiter and fields of a part.</summary>
    public byte[] Header(int part) => _headers[part];
}
