using Delivery.Edge.Peers;
using Delivery.Edge.Tests.Upstreams;
using Delivery.Edge.Upstreams;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Peers;

public sealed class SiblingRingTests : IDisposable
{
    private const string Self = "me";

    private static readonly IReadOnlyList<string> Paths = [.. Enumerable.Range(0, 20_000).Select(i => $"/audio/{i:x40}.ogg")];

    private readonly UpstreamMeter _meter = new();

    public void Dispose() => _meter.Dispose();

    [Fact]
    public void EveryEdge_WorksOutTheSameOwner()
    {
        string[] ids = ["edge-a", "edge-b", "edge-c"];
        foreach (var path in Paths.Take(500))
        {
            // Who thinks to be the owner, and whom the others ask.
            var owners = ids.Where(id => !Ring(id, ids).HasOtherOwner(path)).ToList();
            var owner = Assert.Single(owners);
            Assert.All(ids.Where(id => id != owner), id => Assert.Equal(owner, Order(Ring(id, ids), path)[0]));
        }
    }

    [Fact]
    public void Order_EndsBeforeThisEdge()
    {
        string[] ids = ["edge-a", "edge-b", "edge-c"];
        foreach (var path in Paths.Take(500))
        {
            var seen = Order(Ring(Self, [.. ids, Self]), path);
            var all = Order(Ring(Self, ids.Append(Self)), path, everybody: true);
            Assert.Equal(all.TakeWhile(id => id != Self), seen);
        }
    }

    [Fact]
    public void Members_ShareTheObjectsEvenly()
    {
        var ids = Enumerable.Range(0, 10).Select(i => $"edge-{i}").ToList();
        var ring = Ring("nobody", ids);
        var shares = Paths.CountBy(path => Order(ring, path)[0]).Select(c => c.Value).ToList();
        Assert.Equal(10, shares.Count);
        // 2,000 each; five standard deviations are 212.
        Assert.All(shares, share => Assert.InRange(share, 1788, 2212));
    }

    [Fact]
    public void MemberThatLeaves_MovesItsOwnShareAlone()
    {
        var ids = Enumerable.Range(0, 10).Select(i => $"edge-{i}").ToList();
        var (before, after) = (Ring("nobody", ids), Ring("nobody", ids.Where(id => id != "edge-3")));
        var moved = 0;
        foreach (var path in Paths)
        {
            var (old, now) = (Order(before, path)[0], Order(after, path)[0]);
            if (old == now)
                continue;
            moved++;
            Assert.Equal("edge-3", old);
            // And it goes where it would have failed over to.
            Assert.Equal(Order(before, path)[1], now);
        }

        Assert.InRange(moved, 1788, 2212);
    }

    [Fact]
    public void BusyOwner_GivesWayToTheNext_AndOnlyWhenItIsBusy()
    {
        var ids = new[] { "edge-a", "edge-b", "edge-c" };
        var ring = Ring("nobody", ids);
        var path = Paths[0];
        var order = Order(ring, path);
        var owner = Link(ring, order[0]);
        // Few requests: all of them go to the owner.
        for (var i = 0; i < SiblingRing.MinLoad; i++)
        {
            Assert.Equal(order, Order(ring, path));
            owner.Begin();
        }

        Assert.Equal(order[1..], Order(ring, path));
        // The others as busy as it: nobody is over his share, which is 1.25 of the average.
        foreach (var id in order[1..])
        {
            for (var i = 0; i < SiblingRing.MinLoad; i++)
                Link(ring, id).Begin();
        }

        Assert.Equal(order, Order(ring, path));
        var inFlight = 3 * SiblingRing.MinLoad;
        while (Order(ring, path)[0] == order[0])
        {
            owner.Begin();
            inFlight++;
        }

        Assert.Equal((int)Math.Ceiling(SiblingRing.LoadBound * (inFlight + 1) / 3), owner.InFlight);
    }

    private SiblingRing Ring(string self, IEnumerable<string> ids) =>
        new([.. ids.Select(id => new SiblingMember(id, id == self ? null : new(new ScriptedUpstream(id), _meter, TimeProvider.System, NullLogger.Instance)))]);

    private static UpstreamLink Link(SiblingRing ring, string id) => ring.Members.Single(m => m.Id == id).Link!;

    // Everybody: as an edge outside would see it, this one included.
    private List<string> Order(SiblingRing ring, string path, bool everybody = false)
    {
        var order = new List<UpstreamLink>();
        (everybody ? Ring("nobody", ring.Members.Select(m => m.Id)) : ring).AddTo(order, path);
        return [.. order.Select(l => l.Name)];
    }
}
