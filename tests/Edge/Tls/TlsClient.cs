using System.Diagnostics;
using System.Net.Security;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;

namespace Delivery.Edge.Tests.Tls;

/// <summary>One TLS connection, and what the server showed in its handshake.</summary>
internal sealed class TlsClient : IDisposable
{
    private readonly TcpClient _tcp = new();

    public SslStream Tls { get; private set; } = null!;

    public string Thumbprint { get; private set; } = "";

    public static async Task<TlsClient> ConnectAsync(Uri address, string name, SslProtocols version = SslProtocols.None, string? protocol = null)
    {
        var client = new TlsClient();
        await client._tcp.ConnectAsync(address.Host, address.Port);
        client.Tls = new(client._tcp.GetStream());
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        await client.Tls.AuthenticateAsClientAsync(new()
        {
            TargetHost = name,
            EnabledSslProtocols = version,
            ApplicationProtocols = protocol is null ? null : [new(protocol)],
            // A resumed session would show no certificate of its own.
            AllowTlsResume = false,
            RemoteCertificateValidationCallback = (_, presented, _, _) => (client.Thumbprint = presented?.GetCertHashString() ?? "").Length > 0,
        }, bound.Token);
        return client;
    }

    public async Task<string> OptionsAsync()
    {
        await Tls.WriteAsync("OPTIONS * HTTP/1.1\r\nHost: edge\r\n\r\n"u8.ToArray());
        var buffer = new byte[4096];
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        return Encoding.Latin1.GetString(buffer, 0, await Tls.ReadAtLeastAsync(buffer, 20, throwOnEndOfStream: false, bound.Token));
    }

    public void Dispose()
    {
        Tls?.Dispose();
        _tcp.Dispose();
    }
}

/// <summary>The openssl program.</summary>
internal static class OpenSsl
{
    public static async Task<string> RunAsync(string input, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo("openssl", arguments) { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        using var bound = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        var output = process.StandardOutput.ReadToEndAsync(bound.Token);
        var errors = process.StandardError.ReadToEndAsync(bound.Token);
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        try
        {
            await process.WaitForExitAsync(bound.Token);
            return await output + await errors;
        }
        finally
        {
            if (!process.HasExited)
                process.Kill();
        }
    }
}
