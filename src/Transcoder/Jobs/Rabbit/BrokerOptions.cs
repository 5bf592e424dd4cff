using System.Globalization;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using RabbitMQ.Client;

namespace Delivery.Transcoder.Jobs.Rabbit;

/// <summary>
/// Where the broker is and how the farm uses it. All processes of a farm need the same <see cref="Prefix"/>, <see cref="MaxQueued"/>,
/// <see cref="DeliveryLimit"/> and <see cref="DelayLevels"/>: with another limit a process cannot connect, with other names it uses other queues.
/// </summary>
public sealed record BrokerOptions
{
    /// <summary><c>amqp[s]://user:password@host[:port][/virtualhost]</c>, user and password percent-encoded. With amqps the server's certificate and name are checked. A secret.</summary>
    public string Url { get; init; } = "";

    /// <summary>PEM file of the authorities that may have signed the broker's certificate; null: the system's.</summary>
    public string? AuthoritiesPath { get; init; }

    /// <summary>First part of the name of every queue and exchange: farms that share a virtual host differ in it. 1 to 64 of letters, digits, <c>-</c> and <c>_</c>.</summary>
    public string Prefix { get; init; } = "delivery";

    /// <summary>Messages in one line, one delay or the reports, 1 to 10,000,000; one more is refused. 100,000 tracks are four days of work for a 16-core worker, and 60 MB.</summary>
    public int MaxQueued { get; init; } = 100_000;

    /// <summary>How often a job comes back when its worker was lost, 1 to 100; the next loss makes it a failure. Four workers that died of one master are no coincidence.</summary>
    public int DeliveryLimit { get; init; } = 3;

    /// <summary>How long a call waits for the broker before it fails with a <see cref="QueueException"/>, 100 ms to 10 min. Longer than a broker's restart.</summary>
    public TimeSpan OperationTimeout { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// The delays there are, rising, 1 to 10 of 1 ms to 24 h; a retry waits for the first that is not shorter than it asked for, or the last. Levels, because
    /// a queue gives up its messages in order: one with a long delay would hold up a short one behind it.
    /// </summary>
    public IReadOnlyList<TimeSpan> DelayLevels { get; init; } = [.. Enumerable.Range(0, 5).Select(n => TimeSpan.FromSeconds(Math.Pow(4, n)))];

    /// <summary>How soon a process with a free slot asks again after it found nothing, 1 ms to <see cref="MaxPollInterval"/>; doubled each time.</summary>
    public TimeSpan MinPollInterval { get; init; } = TimeSpan.FromMilliseconds(50);

    /// <summary>How seldom it asks at most, up to 1 min: what an urgent job waits for an idle worker.</summary>
    public TimeSpan MaxPollInterval { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>Everything that is wrong, without the password; empty when nothing is.</summary>
    public IReadOnlyList<string> Validate()
    {
        var problems = new List<string>();
        Check(TryParseUrl(out _, out _, out _), nameof(Url), Shown, "amqp[s]://user:password@host[:port][/virtualhost]");
        Check(AuthoritiesPath is null || File.Exists(AuthoritiesPath), nameof(AuthoritiesPath), AuthoritiesPath, "a PEM file that exists");
        Check(Prefix is { Length: >= 1 and <= 64 } && Prefix.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_'), nameof(Prefix), Prefix, "1 to 64 of letters, digits, - and _");
        Check(MaxQueued is >= 1 and <= 10_000_000, nameof(MaxQueued), MaxQueued, "1 to 10000000");
        Check(DeliveryLimit is >= 1 and <= 100, nameof(DeliveryLimit), DeliveryLimit, "1 to 100");
        Check(OperationTimeout >= TimeSpan.FromMilliseconds(100) && OperationTimeout <= TimeSpan.FromMinutes(10), nameof(OperationTimeout), OperationTimeout, "00:00:00.1 to 00:10:00");
        var rising = DelayLevels.Zip(DelayLevels.Skip(1)).All(pair => pair.First < pair.Second);
        Check(
            DelayLevels.Count is >= 1 and <= 10 && rising && DelayLevels.All(d => d >= TimeSpan.FromMilliseconds(1) && d <= TimeSpan.FromHours(24)),
            nameof(DelayLevels), string.Join(", ", DelayLevels), "1 to 10 times of 00:00:00.001 to 1.00:00:00, rising");
        Check(MinPollInterval >= TimeSpan.FromMilliseconds(1) && MinPollInterval <= MaxPollInterval, nameof(MinPollInterval), MinPollInterval, "00:00:00.001 to MaxPollInterval");
        Check(MaxPollInterval <= TimeSpan.FromMinutes(1), nameof(MaxPollInterval), MaxPollInterval, "up to 00:01:00");
        return problems;

        void Check(bool good, string name, object? value, string range)
        {
            if (!good)
                problems.Add(string.Create(CultureInfo.InvariantCulture, $"Broker:{name} is '{value}'; accepted: {range}."));
        }
    }

    /// <summary>Scheme, host, port and virtual host: for logs and messages.</summary>
    internal string Shown => TryParseUrl(out var url, out _, out var virtualHost) ? $"{url.Scheme}://{url.Host}:{PortOf(url)}/{(virtualHost == "/" ? "" : virtualHost)}" : "(not shown: it may hold a password)";

    internal ConnectionFactory CreateFactory()
    {
        if (!TryParseUrl(out var url, out var user, out var virtualHost))
            throw new InvalidOperationException("Validate first.");
        return new ConnectionFactory
        {
            HostName = url.Host,
            Port = PortOf(url),
            UserName = user[0],
            Password = user[1],
            VirtualHost = virtualHost,
            // Not by the client's own way from a URL, which takes a certificate of any name.
            Ssl = new SslOption(url.Host, enabled: url.Scheme == "amqps") { AcceptablePolicyErrors = SslPolicyErrors.None, CertificateValidationCallback = AuthoritiesPath is null ? null : IsTrusted },
            ClientProvidedName = $"delivery {Environment.MachineName} {Environment.ProcessId}",
            // BrokerConnection connects again (ADR 0018).
            AutomaticRecoveryEnabled = false,
            TopologyRecoveryEnabled = false,
            RequestedHeartbeat = TimeSpan.FromSeconds(10),
            RequestedConnectionTimeout = TimeSpan.FromSeconds(10),
            HandshakeContinuationTimeout = TimeSpan.FromSeconds(10),
            ContinuationTimeout = TimeSpan.FromSeconds(20),
        };
    }

    private bool IsTrusted(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if (certificate is null || (errors & ~SslPolicyErrors.RemoteCertificateChainErrors) != 0)
            return false;
        using var own = new X509Chain();
        own.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck; // As without a file of our own.
        own.ChainPolicy.CustomTrustStore.ImportFromPemFile(AuthoritiesPath!);
        if (chain is not null)
            own.ChainPolicy.ExtraStore.AddRange(chain.ChainElements.Select(e => e.Certificate).ToArray());
        using var server = X509CertificateLoader.LoadCertificate(certificate.GetRawCertData());
        return own.Build(server);
    }

    /// <summary>Not the URL: it holds the password.</summary>
    private bool PrintMembers(StringBuilder builder)
    {
        builder.Append(CultureInfo.InvariantCulture, $"Broker = {Shown}, Prefix = {Prefix}");
        return true;
    }

    private static int PortOf(Uri url) => url.Port > 0 ? url.Port : url.Scheme == "amqps" ? 5671 : 5672;

    private bool TryParseUrl(out Uri url, out string[] user, out string virtualHost)
    {
        (user, virtualHost) = ([], "/");
        if (!Uri.TryCreate(Url, UriKind.Absolute, out url!) || url.Scheme is not ("amqp" or "amqps") || url.Host.Length == 0 || url.Query.Length > 0 || url.Fragment.Length > 0)
            return false;
        user = [.. url.UserInfo.Split(':', 2).Select(Uri.UnescapeDataString)];
        if (user.Length != 2 || user[0].Length == 0)
            return false;
        // As the client reads it: no path or / alone is the virtual host "/"; what follows the first slash is one name.
        var path = url.AbsolutePath.TrimStart('/');
        if (path.Contains('/'))
            return false;
        if (path.Length > 0)
            virtualHost = Uri.UnescapeDataString(path);
        return true;
    }
}
