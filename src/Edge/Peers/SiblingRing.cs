using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using Delivery.Edge.Cache;
using Delivery.Edge.Upstreams;

namespace Delivery.Edge.Peers;

/// <summary>
/// The edges of a site. Each object has an order of them, by rendezvous hashing: every edge works out the same one, and a member that comes or goes moves only its own share. The first is the owner, who
/// fills from the upstreams behind the siblings; the others ask it, and the next in the order when it is down or busier than its share allows.
/// </summary>
/// <param name="members">All of them; of this edge the link is null.</param>
internal sealed class SiblingRing(IReadOnlyList<SiblingMember> members)
{
    /// <summary>How far over the average of requests in flight a member may be (Mirrokni et al., consistent hashing with bounded loads): a hot album must not drown its owner.</summary>
    public const double LoadBound = 1.25;

    /// <summary>In flight at one member in any case: with few requests the average says nothing, and the owner should have them all.</summary>
    public const int MinLoad = 16;

    private readonly ulong[] _hashes = [.. members.Select(m => BinaryPrimitives.ReadUInt64LittleEndian(SHA256.HashData(Encoding.UTF8.GetBytes(m.Id))))];

    public IReadOnlyList<SiblingMember> Members => members;

    /// <summary>Whether a member comes before this edge in the object's order.</summary>
    public bool HasOtherOwner(string path) => members[Order(path)[0]].Link is not null;

    /// <summary>Adds the members to ask for an object, best first: those before this edge in its order that are not over their share.</summary>
    public void AddTo(List<UpstreamLink> order, string path)
    {
        var others = 0;
        var inFlight = 1;
        foreach (var member in members)
        {
            others += member.Link is null ? 0 : 1;
            inFlight += member.Link?.InFlight ?? 0;
        }

        var bound = Math.Max(MinLoad, (int)Math.Ceiling(LoadBound * inFlight / others));
        foreach (var index in Order(path))
        {
            // Behind this edge in the order nobody is nearer to the object than itself.
            if (members[index].Link is not { } link)
                return;
            if (link.InFlight < bound)
                order.Add(link);
        }
    }

    // Highest score first.
    private int[] Order(string path)
    {
        var hash = ObjectHash.OfPath(path);
        var order = new int[_hashes.Length];
        var scores = new ulong[_hashes.Length];
        for (var i = 0; i < order.Length; i++)
            (order[i], scores[i]) = (i, ~Mix(hash.High ^ Mix(hash.Low ^ _hashes[i])));
        Array.Sort(scores, order);
        return order;
    }

    // The finalizer of SplitMix64: each bit of the input changes half of the output's.
    private static ulong Mix(ulong value)
    {
        value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
        value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
        return value ^ (value >> 31);
    }
}

/// <summary>One edge of a site.</summary>
/// <param name="Id">Its <see cref="EdgeOptions.EdgeId"/>.</param>
/// <param name="Link">Null: this edge itself.</param>
internal sealed record SiblingMember(string Id, UpstreamLink? Link);
