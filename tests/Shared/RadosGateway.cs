using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Amazon.Runtime;
using Amazon.S3;

namespace Delivery.Tests;

/// <summary>
/// A real S3 server: Ceph RadosGW of Debian's packages (<c>radosgw ceph-mon ceph-osd ceph-common</c>), data in memory, on loopback ports that no other instance takes. It ends with this process, however that ends.
/// </summary>
public sealed class RadosGateway : IAsyncDisposable
{
    public const string AccessKey = "test", SecretKey = "testsecret";

    /// <summary>A user that exists and owns nothing.</summary>
    public const string StrangerAccessKey = "stranger", StrangerSecretKey = "strangersecret";

    /// <summary>Below Linux's ports for outgoing connections, which start at 32768.</summary>
    private const int FirstPort = 20_000, PortsEach = 110, Blocks = 100;

    private static readonly TimeSpan StartTimeout = TimeSpan.FromMinutes(3);
    private static readonly Lazy<Task<RadosGateway>> Shared = new(StartAsync);

    private readonly Process _process;
    private readonly Socket _block;
    private readonly string _folder;
    private readonly ConcurrentQueue<string> _errors = new();
    private int _buckets;

    private RadosGateway(Socket block, int basePort)
    {
        _block = block;
        _folder = Path.Combine(Path.GetTempPath(), $"radosgw-{Environment.ProcessId}-{basePort}");
        Endpoint = new Uri($"http://127.0.0.1:{basePort + 105}");
        // A session of its own: a signal from the terminal must not end it before it has cleaned up.
        _process = Process.Start(new ProcessStartInfo(
            "setsid", ["bash", Path.Combine(AppContext.BaseDirectory, "radosgw-start.sh"), _folder, $"{Endpoint.Port}", $"{basePort}"])
        { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true })!;
        _process.ErrorDataReceived += (_, line) => Note(line.Data);
        _process.BeginErrorReadLine();
    }

    public Uri Endpoint { get; }

    /// <summary>One for all tests of this process, started by the first that asks.</summary>
    public static Task<RadosGateway> SharedAsync() => Shared.Value;

    /// <exception cref="InvalidOperationException">It did not start; the message ends with what it said.</exception>
    public static async Task<RadosGateway> StartAsync()
    {
        var (block, basePort) = TakePorts();
        var gateway = new RadosGateway(block, basePort);
        try
        {
            await gateway.ReadyAsync();
            return gateway;
        }
        catch
        {
            await gateway.DisposeAsync();
            throw;
        }
    }

    /// <summary>A store's URL of a bucket here, with the settings that this server needs.</summary>
    /// <param name="options">Further ones, each with a leading <c>&amp;</c>.</param>
    /// <param name="address">Where something stands between, else <see cref="Endpoint"/>.</param>
    public string Url(string bucket, string prefix = "", string options = "", Uri? address = null) =>
        $"s3://{bucket}/{prefix}?endpoint={Uri.EscapeDataString($"{address ?? Endpoint}")}&checksums=whenRequired&conditionalMultipart=false{options}";

    public async Task<string> NewBucketAsync()
    {
        var bucket = $"bucket-{Interlocked.Increment(ref _buckets)}-{Guid.NewGuid():n}";
        await Client.PutBucketAsync(bucket);
        return bucket;
    }

    /// <summary>For what a store cannot say.</summary>
    public AmazonS3Client Client => field ??= new AmazonS3Client(
        new BasicAWSCredentials(AccessKey, SecretKey),
        new AmazonS3Config { ServiceURL = $"{Endpoint}", ForcePathStyle = true, AuthenticationRegion = "us-east-1", RequestChecksumCalculation = RequestChecksumCalculation.WHEN_REQUIRED });

    /// <summary>Of the server's own files; gone when it has ended.</summary>
    public string Folder => _folder;

    /// <summary>SIGKILL to the gateway alone: its connections end at once, the data stay.</summary>
    public void KillGateway()
    {
        using var gateway = Process.GetProcessById(int.Parse(File.ReadAllText(Path.Combine(_folder, "gateway.pid"))));
        gateway.Kill();
        gateway.WaitForExit();
    }

    /// <summary>After <see cref="KillGateway"/>: the same address, the same data.</summary>
    public async Task RestartGatewayAsync()
    {
        await _process.StandardInput.WriteLineAsync("restart");
        await _process.StandardInput.FlushAsync();
        await ReadyAsync();
    }

    public async ValueTask DisposeAsync()
    {
        _process.StandardInput.Close();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _block.Dispose();
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

        var logs = Directory.Exists(_folder) ? Directory.GetFiles(_folder, "*.log").SelectMany(f => File.ReadLines(f).TakeLast(20).Prepend($"{f}:")) : [];
        throw new InvalidOperationException($"RadosGW did not start (it needs Debian's radosgw, ceph-mon, ceph-osd and ceph-common):\n{string.Join('\n', logs.Concat(_errors))}");
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
    private static (Socket Block, int BasePort) TakePorts()
    {
        var first = Random.Shared.Next(Blocks);
        for (var i = 0; i < Blocks; i++)
        {
            var basePort = FirstPort + (first + i) % Blocks * PortsEach;
            var block = Bind(basePort + PortsEach - 1);
            if (block is null)
                continue;
            using var monitor = Bind(basePort);
            using var oldMonitor = Bind(basePort + 1);
            using var gateway = Bind(basePort + 105);
            if (monitor is not null && oldMonitor is not null && gateway is not null)
                return (block, basePort);
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
