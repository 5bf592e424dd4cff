using System.Globalization;
using System.Net;
using Delivery.TokenAuth;

namespace Delivery.Bench.Load;

/// <summary>A contender: where it listens, and signed requests for it. Each request may have a signature of its own (another expiry), as every listener has.</summary>
internal sealed class Target(IPEndPoint address, string keyRingPath, long objectBytes)
{
    private readonly KeyRing _ring = KeyRing.Parse(File.ReadAllBytes(keyRingPath));
    private readonly DateTimeOffset _expires = DateTimeOffset.UtcNow.AddHours(6);

    public IPEndPoint Address { get; } = address;

    public long ObjectBytes { get; } = objectBytes;

    public static Target From(Arguments arguments) => new(arguments.Address("target"), arguments.Text("keys"), arguments.Number("bytes"));

    public string Sign(string path, int listener = 0) => NativeScheme.Instance.Sign(_ring, path, new UrlGrant { Expires = _expires.AddSeconds(listener) });

    /// <summary>The first <paramref name="length"/> bytes of an object; the whole without a range when it is null.</summary>
    public byte[] Request(string path, long? length, int listener = 0) =>
        Listener.Request(Address, Sign(path, listener), length is { } bytes ? string.Create(CultureInfo.InvariantCulture, $"0-{bytes - 1}") : null);
}
