using System.Net;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;

namespace Delivery.Edge.Limits;

/// <summary>Counts each client's connections; one too many is closed at accept. Exempt networks are not counted.</summary>
internal sealed class ClientConnections(int perClient, NetworkList exempt, LimitMeter meter)
{
    // A lock, because an accept costs far more than it does, and a count must be exact at both ends. Holds no more clients than there are connections.
    private readonly Lock _gate = new();
    private readonly Dictionary<ulong, int> _counts = [];

    /// <summary>Clients that have connections.</summary>
    public int Clients
    {
        get
        {
            lock (_gate)
                return _counts.Count;
        }
    }

    /// <summary>The connection's way: comes after PROXY protocol, as it goes by the client's address, and before TLS, as it must be cheap.</summary>
    public ConnectionDelegate Then(ConnectionDelegate next) => perClient == 0 ? next : async connection =>
    {
        if ((connection.RemoteEndPoint as IPEndPoint)?.Address is not { } address || exempt.Contains(address))
        {
            await next(connection);
            return;
        }

        var client = ClientKey.Of(address);
        if (!TryEnter(client))
        {
            meter.Limited(Limit.ClientConnections);
            return;
        }

        try
        {
            await next(connection);
        }
        finally
        {
            Leave(client);
        }
    };

    private bool TryEnter(ulong client)
    {
        lock (_gate)
        {
            ref var count = ref CollectionsMarshal.GetValueRefOrAddDefault(_counts, client, out _);
            if (count >= perClient)
                return false;
            count++;
            return true;
        }
    }

    private void Leave(ulong client)
    {
        lock (_gate)
        {
            if (--CollectionsMarshal.GetValueRefOrNullRef(_counts, client) == 0)
                _counts.Remove(client);
        }
    }
}
