using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Delivery.Tests;

/// <summary>
/// A real message broker: RabbitMQ of Debian's package (<c>rabbitmq-server</c>), on loopback ports that no other instance takes. It ends with this process,
/// however that ends.
/// </summary>
public sealed class RabbitBroker : IAsyncDisposable
{
    /// <summary>Below Linux's ports for outgoing connections, which start at 32768, and below those of <c>RadosGateway</c>.</summary>
    private const int FirstPort = 16_000, PortsEach = 5, Blocks = 780;

    private static readonly TimeSpan StartTimeout = TimeSpan.FromMinutes(2);

    private readonly Process _process;
    private readonly Socket _block;
    private readonly string _keys;
    private readonly ConcurrentQueue<string> _errors = new();

    private RabbitBroker(Socket block, int port, string[] settings)
    {
        _block = block;
        Port = port;
        _keys = Directory.CreateTempSubdirectory("rabbitmq-keys-").FullName;
        WriteKeys();
        settings =
        [
            $"listeners.ssl.1 = 127.0.0.1:{TlsPort}", $"ssl_options.cacertfile = {AuthoritiesPath}", $"ssl_options.certfile = {Path.Combine(_keys, "server.pem")}",
            $"ssl_options.keyfile = {Path.Combine(_keys, "server.key")}", "ssl_options.verify = verify_none", .. settings,
        ];
        Folder = Path.Combine(Path.GetTempPath(), $"rabbitmq-{Environment.ProcessId}-{port}");
        // A session of its own: a signal from the terminal must not end it before it has cleaned up.
        _process = Process.Start(new ProcessStartInfo(
            "setsid", ["bash", Path.Combine(AppContext.BaseDirectory, "rabbitmq-start.sh"), Folder, $"{port}", .. settings])
        { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        _process.ErrorDataReceived += (_, line) => Note(line.Data);
        _process.BeginErrorReadLine();
    }

    public int Port { get; }

    /// <summary>With a certificate for 127.0.0.1 alone.</summary>
    public int TlsPort => Port + 3;

    /// <summary>Who signed that certificate: no system knows them.</summary>
    public string AuthoritiesPath => Path.Combine(_keys, "authorities.pem");

    /// <summary>Of the broker's own files; gone when it has ended.</summary>
    public string Folder { get; }

    /// <summary>With the user and the virtual host that every RabbitMQ has at first.</summary>
    public string Url => UrlAt(Port);

    /// <summary>As <see cref="Url"/>, through something that stands between.</summary>
    public static string UrlAt(int port) => $"amqp://guest:guest@127.0.0.1:{port}/";

    /// <param name="settings">Further lines of <c>rabbitmq.conf</c>.</param>
    /// <exception cref="InvalidOperationException">It did not start; the message ends with what it said.</exception>
    public static async Task<RabbitBroker> StartAsync(params string[] settings)
    {
        var (block, port) = TakePorts();
        var broker = new RabbitBroker(block, port, settings);
        try
        {
            await broker.ReadyAsync();
            return broker;
        }
        catch
        {
            await broker.DisposeAsync();
            throw;
        }
    }

    /// <summary>In order, by SIGTERM; what is durable stays.</summary>
    public Task StopAsync() => CommandAsync("stop");

    /// <summary>SIGKILL; what is durable stays.</summary>
    public Task KillAsync() => CommandAsync("kill");

    /// <summary>Again, after <see cref="StopAsync"/> or <see cref="KillAsync"/>, at the same address.</summary>
    public Task RestartAsync() => CommandAsync("start");

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _block.Dispose();
        Directory.Delete(_keys, recursive: true);
    }

    private void WriteKeys()
    {
        var (from, to) = (DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(2));
        using var authorityKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var authority = new CertificateRequest("CN=authority of a test", authorityKey, HashAlgorithmName.SHA256);
        authority.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        using var signer = authority.CreateSelfSigned(from, to);
        using var serverKey = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var server = new CertificateRequest("CN=broker of a test", serverKey, HashAlgorithmName.SHA256);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Loopback);
        server.CertificateExtensions.Add(names.Build());
        using var certificate = server.Create(signer, from, to, [1]);
        File.WriteAllText(AuthoritiesPath, signer.ExportCertificatePem());
        File.WriteAllText(Path.Combine(_keys, "server.pem"), certificate.ExportCertificatePem());
        File.WriteAllText(Path.Combine(_keys, "server.key"), serverKey.ExportPkcs8PrivateKeyPem());
    }

    private async Task CommandAsync(string command)
    {
        await _process.StandardInput.WriteLineAsync(command);
        await _process.StandardInput.FlushAsync();
        await ReadyAsync();
    }

    private async Task ReadyAsync()
    {
        try
        {
            if (await _process.StandardOutput.ReadLineAsync().WaitAsync(StartTimeout) == "ready")
                return;
        }
        catch (TimeoutException)
        {
        }

        var logs = Directory.Exists(Folder) ? Directory.GetFiles(Path.Combine(Folder, "log"), "*.log").SelectMany(f => File.ReadLines(f).TakeLast(30).Prepend($"{f}:")) : [];
        throw new InvalidOperationException($"RabbitMQ did not start (it needs Debian's rabbitmq-server):\n{string.Join('\n', logs.Concat(_errors))}");
    }

    private void Note(string? line)
    {
        if (line is null)
            return;
        _errors.Enqueue(line);
        while (_errors.Count > 40)
            _errors.TryDequeue(out _);
    }

    /// <summary>Ports for one instance. Whoever holds the last one of a block has the block.</summary>
    private static (Socket Block, int Port) TakePorts()
    {
        var first = Random.Shared.Next(Blocks);
        for (var i = 0; i < Blocks; i++)
        {
            var port = FirstPort + (first + i) % Blocks * PortsEach;
            var block = Bind(port + PortsEach - 1);
            if (block is null)
                continue;
            using var clients = Bind(port);
            using var nodes = Bind(port + 1);
            using var names = Bind(port + 2);
            if (clients is not null && nodes is not null && names is not null)
                return (block, port);
            block.Dispose();
        }

        throw new InvalidOperationException("No block of ports is free.");
    }

    private static Socket? Bind(int port)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ExclusiveAddressUse = true };
        try
        {
            socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            return socket;
        }
        catch (SocketException)
        {
            socket.Dispose();
            return null;
        }
    }
}
