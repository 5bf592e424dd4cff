namespace Delivery.Edge.Tls;

/// <summary>A certificate for some of the names that the TLS port answers to; an entry of <see cref="EdgeOptions.Certificates"/>.</summary>
public sealed record CertificateOptions
{
    /// <summary>DNS names, 1 to 100: <c>cdn.example</c>, or <c>*.cdn.example</c> for every name that has one label more (RFC 9525 §6.3).</summary>
    public IReadOnlyList<string> Hosts { get; init; } = [];

    /// <summary>PEM file: the certificate, then its chain.</summary>
    public string CertificatePath { get; init; } = "";

    /// <summary>PEM file with the certificate's private key, unencrypted.</summary>
    public string KeyPath { get; init; } = "";

    // RFC 1123 §2.1: labels of letters, digits and inner hyphens; as SNI carries them, internationalized ones in their ASCII form (RFC 6066 §3).
    internal static bool IsHost(string host)
    {
        var name = host.StartsWith("*.", StringComparison.Ordinal) ? host[2..] : host;
        return name.Length is > 0 and <= 253
            && name.Split('.').All(label => label.Length is > 0 and <= 63 && label.All(c => char.IsAsciiLetterOrDigit(c) || c == '-') && label[0] != '-' && label[^1] != '-');
    }
}
