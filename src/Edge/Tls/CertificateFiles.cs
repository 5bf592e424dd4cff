using System.Net.Security;
using System.Security.Authentication;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace Delivery.Edge.Tls;

/// <summary>A certificate with its key in two PEM files, and what handshakes use of them, made once for each state of the files.</summary>
internal sealed class CertificateFiles(string name, string certificatePath, string keyPath, List<SslApplicationProtocol> protocols)
{
    // A chain of ten certificates has 20 KiB; what is larger is some other file.
    private const int MaxFileBytes = 256 * 1024;

    private byte[] _currentDigest = [];
    private byte[] _badDigest = [];
    private bool _badIsCounted;

    /// <summary>What tells it in logs and metrics: its first host, or <c>default</c>.</summary>
    public string Name { get; } = name;

    /// <summary>For handshakes. The context is kept with it, which saves building the chain at each handshake, and is what TLS sessions are resumed in.</summary>
    public SslServerAuthenticationOptions Options { get; private set; } = null!;

    public DateTime NotAfterUtc { get; private set; }

    /// <summary>Reads the files for the first time.</summary>
    /// <exception cref="EdgeStartException">They are not a certificate with its key.</exception>
    public void Load()
    {
        try
        {
            var (certificate, key) = Read();
            Use(certificate, key);
            _currentDigest = Digest(certificate, key);
        }
        catch (Exception e) when (IsBadFile(e))
        {
            throw new EdgeStartException($"{Describe(e)}", e);
        }
    }

    /// <summary>Looks at the files; true when they changed and the new ones are in <see cref="Options"/>.</summary>
    /// <param name="error">Why changed files are not used: told once for each bad state, and not at its first sight, as two files are never replaced at one instant.</param>
    public bool TryReload(out string? error)
    {
        error = null;
        var digest = Array.Empty<byte>();
        try
        {
            var (certificate, key) = Read();
            digest = Digest(certificate, key);
            if (digest.AsSpan().SequenceEqual(_currentDigest))
            {
                _badDigest = [];
                return false;
            }

            Use(certificate, key);
            (_currentDigest, _badDigest) = (digest, []);
            return true;
        }
        catch (Exception e) when (IsBadFile(e))
        {
            // An unreadable file has no content to tell it by: it is one state.
            if (digest.Length == 0)
                digest = [0];
            if (!digest.AsSpan().SequenceEqual(_badDigest))
                (_badDigest, _badIsCounted) = (digest, false);
            else if (!_badIsCounted)
                (_badIsCounted, error) = (true, Describe(e));
            return false;
        }
    }

    private static bool IsBadFile(Exception e) => e is CryptographicException or IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException;

    private static byte[] Digest(byte[] certificate, byte[] key) => [.. SHA256.HashData(certificate), .. SHA256.HashData(key)];

    private string Describe(Exception e) => $"The certificate '{certificatePath}' with the key '{keyPath}' is not a PEM certificate with its key: {e.Message}";

    private void Use(byte[] certificatePem, byte[] keyPem)
    {
        var text = Encoding.UTF8.GetString(certificatePem);
        var chain = new X509Certificate2Collection();
        chain.ImportFromPem(text);
        var certificate = X509Certificate2.CreateFromPem(text, Encoding.UTF8.GetString(keyPem));
        NotAfterUtc = certificate.NotAfter.ToUniversalTime();
        Options = new()
        {
            // Offline: what is missing in the chain is not fetched from elsewhere while listeners wait.
            ServerCertificateContext = SslStreamCertificateContext.Create(certificate, chain, offline: true),
            // RFC 8996 retires what is older.
            EnabledSslProtocols = SslProtocols.Tls12 | SslProtocols.Tls13,
            ApplicationProtocols = protocols,
            // A client that renegotiates makes the server work for nothing; TLS 1.3 has done away with it.
            AllowRenegotiation = false,
        };
    }

    private (byte[] Certificate, byte[] Key) Read() => (Read(certificatePath), Read(keyPath));

    private static byte[] Read(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        var buffer = new byte[MaxFileBytes + 1];
        var length = file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false);
        return length <= MaxFileBytes ? buffer[..length] : throw new IOException($"'{path}' has more than {MaxFileBytes} bytes");
    }
}
