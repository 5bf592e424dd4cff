using System.Diagnostics.Metrics;
using System.Net.Security;
using Delivery.Edge.Metering;
using Microsoft.Extensions.Logging;

namespace Delivery.Edge.Tls;

/// <summary>
/// The TLS port's certificates, by the name that a client asks for (SNI, RFC 6066 §3): the exact name, else a wildcard one label up, else the default. They follow their files, as the key ring
/// does: looked at once in <see cref="PollInterval"/>; new handshakes get what is new, connections keep what they have; bad files leave the certificate as it was.
/// </summary>
internal sealed partial class TlsCertificates : IDisposable
{
    /// <summary>How soon a change is seen; a certificate is replaced weeks before it ends. Bad files are told of after two looks.</summary>
    public static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(5);

    private readonly Lock _gate = new();
    private readonly CertificateFiles _default;
    private readonly CertificateFiles[] _all;
    private readonly Dictionary<string, CertificateFiles> _exact = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, CertificateFiles> _wildcard = new(StringComparer.OrdinalIgnoreCase);
    private readonly ILogger _log;
    private readonly Meter _meter = new(EdgeMeter.Name);
    private readonly ITimer _timer;
    private long _failures;

    /// <exception cref="EdgeStartException">Files that are not a certificate with its key.</exception>
    public TlsCertificates(EdgeOptions options, bool http3, TimeProvider time, ILogger log)
    {
        _log = log;
        // In the server's order of preference. TCP clients never offer h3, QUIC clients nothing else.
        List<SslApplicationProtocol> protocols = http3
            ? [SslApplicationProtocol.Http3, SslApplicationProtocol.Http2, SslApplicationProtocol.Http11]
            : [SslApplicationProtocol.Http2, SslApplicationProtocol.Http11];
        _default = new("default", options.CertificatePath!, options.CertificateKeyPath!, protocols);
        var all = new List<CertificateFiles> { _default };
        foreach (var entry in options.Certificates)
        {
            var files = new CertificateFiles(entry.Hosts[0], entry.CertificatePath, entry.KeyPath, protocols);
            all.Add(files);
            foreach (var host in entry.Hosts)
            {
                if (host.StartsWith("*.", StringComparison.Ordinal))
                    _wildcard.Add(host[2..], files);
                else
                    _exact.Add(host, files);
            }
        }

        _all = [.. all];
        foreach (var files in _all)
            files.Load();
        _meter.CreateObservableCounter("delivery.edge.certificates.reload_failures", () => ReloadFailures, "{change}", "Changed certificate files that could not be used; the old certificate stays.");
        _meter.CreateObservableGauge("delivery.edge.certificates.remaining",
            () => _all.Select(f => new Measurement<double>((f.NotAfterUtc - time.GetUtcNow().UtcDateTime).TotalSeconds, new KeyValuePair<string, object?>("certificate", f.Name))), "s",
            "Time until each certificate in use ends.");
        _timer = time.CreateTimer(_ => CheckNow(), null, PollInterval, PollInterval);
    }

    /// <summary>How many states of files were refused.</summary>
    public long ReloadFailures => Interlocked.Read(ref _failures);

    /// <summary>For a handshake; the name as the client sent it, or null or empty.</summary>
    public SslServerAuthenticationOptions Select(string? serverName)
    {
        if (string.IsNullOrEmpty(serverName))
            return _default.Options;
        if (_exact.TryGetValue(serverName, out var files))
            return files.Options;
        var dot = serverName.IndexOf('.', StringComparison.Ordinal);
        return dot > 0 && _wildcard.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(serverName.AsSpan(dot + 1), out files) ? files.Options : _default.Options;
    }

    /// <summary>Looks at the files now. Never throws.</summary>
    public void CheckNow()
    {
        lock (_gate)
        {
            foreach (var files in _all)
            {
                if (files.TryReload(out var error))
                {
                    LogReloaded(_log, files.Name, files.NotAfterUtc);
                }
                else if (error is not null)
                {
                    Interlocked.Increment(ref _failures);
                    LogRefused(_log, files.Name, error);
                }
            }
        }
    }

    public void Dispose()
    {
        _timer.Dispose();
        _meter.Dispose();
    }

    [LoggerMessage(1061, LogLevel.Information, "New certificate for {Name}, good until {NotAfter:u}")]
    private static partial void LogReloaded(ILogger logger, string name, DateTime notAfter);

    [LoggerMessage(1062, LogLevel.Warning, "The certificate for {Name} stays as it was. {Error}")]
    private static partial void LogRefused(ILogger logger, string name, string error);
}
