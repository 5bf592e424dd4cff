using System.Diagnostics.CodeAnalysis;
using System.Net;

namespace Delivery.Edge.Limits;

/// <summary>A few networks by which a connection is judged once. IPv4 and IPv4-mapped IPv6 are the same, as a socket for both shows IPv4 clients mapped.</summary>
internal sealed class NetworkList
{
    public const int MaxCount = 256;

    private readonly IPNetwork[] _networks;

    private NetworkList(IPNetwork[] networks) => _networks = networks;

    public bool Contains(IPAddress? address)
    {
        if (address is { IsIPv4MappedToIPv6: true })
            address = address.MapToIPv4();
        foreach (var network in _networks)
        {
            if (address is not null && network.Contains(address))
                return true;
        }

        return false;
    }

    public static NetworkList Parse(IReadOnlyList<string> texts) => TryParse(texts, out var list) ? list : throw new FormatException("Networks that were not validated.");

    public static bool TryParse(IReadOnlyList<string> texts, [NotNullWhen(true)] out NetworkList? list)
    {
        list = null;
        var networks = new IPNetwork[texts.Count];
        for (var i = 0; i < networks.Length; i++)
        {
            if (texts[i].Contains('/', StringComparison.Ordinal))
            {
                if (!IPNetwork.TryParse(texts[i], out networks[i]))
                    return false;
            }
            else if (IPAddress.TryParse(texts[i], out var address))
            {
                networks[i] = new(address, address.AddressFamily == System.Net.Sockets.AddressFamily.InterNetwork ? 32 : 128);
            }
            else
            {
                return false;
            }
        }

        list = new(networks);
        return true;
    }
}
