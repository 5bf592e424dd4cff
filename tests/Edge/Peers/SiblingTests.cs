using System.Net;
using Delivery.Edge.Fills;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore.Failover;

namespace Delivery.Edge.Tests.Peers;

public sealed class SiblingTests
{
    [Fact]
    public async Task EachObject_IsReadFromTheStoreOnce_WhicheverEdgeIsAsked()
    {
        await using var cluster = new PeerCluster();
        var edges = await cluster.StartSiblingsAsync("edge-a", "edge-b", "edge-c");
        var total = 0L;
        for (var i = 0; i < 12; i++)
        {
            var content = EdgeFixture.Bytes(3 * Chunk.SizeBytes + i, 100 + i);
            total += content.Length;
            var path = await cluster.AddFileAsync(content);
            foreach (var edge in edges)
            {
                Assert.Equal(content, await edge.ReadAsync(path));
                await edge.SettledAsync();
            }
        }

        Assert.Equal(total, cluster.Store.BytesRead);
        // Each owns some of them.
        Assert.All(edges, e => Assert.True(e.Sent > 0));
    }

    [Fact]
    public async Task AllSiblingsAtOnce_OneColdObject_IsReadFromTheStoreOnce()
    {
        await using var cluster = new PeerCluster();
        var edges = await cluster.StartSiblingsAsync("edge-a", "edge-b", "edge-c");
        var content = EdgeFixture.Bytes(8 * Chunk.SizeBytes, 3);
        var path = await cluster.AddFileAsync(content);
        var script = cluster.Store.Script = new() { HoldOpen = true };
        var requests = Enumerable.Range(0, 30).Select(i => edges[i % 3].ReadAsync(path, "bytes=0-1048575")).ToList();
        await Poll.UntilAsync(() => script.Arrived == 1 && edges.All(e => e.Node.Parts.Fills.Running == 1));
        script.Release();
        foreach (var request in requests)
            Assert.Equal(content, await request);
        Assert.Equal(content.Length, cluster.Store.BytesRead);
    }

    [Fact]
    public async Task DeadOwner_IsReplacedByTheStore_AndLeftAloneAfterAWhile()
    {
        await using var cluster = new PeerCluster();
        var edges = await cluster.StartSiblingsAsync("edge-a", "edge-b");
        var (alive, dead) = (edges[0], edges[1]);
        await dead.KillAsync();
        var owned = 0;
        for (var i = 0; i < 24; i++)
        {
            var content = EdgeFixture.Bytes(1000, 200 + i);
            var path = await cluster.AddFileAsync(content);
            owned += alive.Node.Upstreams.MayAskSibling(path, default) ? 1 : 0;
            Assert.Equal(content, await alive.ReadAsync(path));
        }

        Assert.InRange(owned, CircuitBreaker.FailuresToOpen + 1, 23);
        var sibling = alive.Node.Upstreams.Links.Single(l => l.Name == "siblings/edge-b");
        Assert.Equal(BreakerState.Open, sibling.Breaker.State);
        Assert.Equal(CircuitBreaker.FailuresToOpen, alive.Node.Upstreams.Meter.Requests(sibling.Name, FillOutcome.Unavailable));
        Assert.Equal(24, alive.Node.Upstreams.Meter.Requests("store", FillOutcome.Completed));
    }

    [Fact]
    public async Task WhatASiblingAsks_IsNeverAskedOfASibling()
    {
        await using var cluster = new PeerCluster();
        var edges = await cluster.StartSiblingsAsync("edge-a", "edge-b");
        var content = EdgeFixture.Bytes(1000, 7);
        var path = await cluster.AddFileAsync(content);
        var (other, owner) = edges[0].Node.Upstreams.MayAskSibling(path, default) ? (edges[0], edges[1]) : (edges[1], edges[0]);
        using var response = await other.AskAsync(path, change: r => r.Headers.TryAddWithoutValidation("Delivery-Peer", "sibling"));
        Assert.Equal(content, await response.Content.ReadAsByteArrayAsync());
        Assert.Equal((0, content.Length), (owner.Sent, cluster.Store.BytesRead));
    }

    [Fact]
    public async Task SiblingsQuestion_DoesNotWaitForAFillThatWaitsForASibling()
    {
        await using var cluster = new PeerCluster();
        var edges = await cluster.StartSiblingsAsync("edge-a", "edge-b");
        var content = EdgeFixture.Bytes(1000, 7);
        var path = await cluster.AddFileAsync(content);
        var (other, owner) = edges[0].Node.Upstreams.MayAskSibling(path, default) ? (edges[0], edges[1]) : (edges[1], edges[0]);
        // The listener's fill at the other edge waits for the owner, whose fill waits for the store.
        var held = cluster.Store.Script = new() { HoldOpen = true };
        var waiting = other.ReadAsync(path);
        await Poll.UntilAsync(() => held.Arrived == 1 && owner.Node.Parts.Fills.Running == 1);
        cluster.Store.Script = null;
        // The owner, gone mad, asks the other edge: an answer comes, though what that edge has under way waits for the owner.
        using (var response = await other.AskAsync(path, change: r => r.Headers.TryAddWithoutValidation("Delivery-Peer", "sibling")))
            Assert.Equal(content, await response.Content.ReadAsByteArrayAsync());
        held.Release();
        Assert.Equal(content, await waiting);
    }

    [Fact]
    public async Task HeadsAreAskedOfTheOwnerToo()
    {
        await using var cluster = new PeerCluster();
        var edges = await cluster.StartSiblingsAsync("edge-a", "edge-b");
        var path = await cluster.AddFileAsync(EdgeFixture.Bytes(1000, 7));
        foreach (var edge in edges)
        {
            using var head = await edge.GetAsync(path, method: HttpMethod.Head);
            Assert.Equal(HttpStatusCode.OK, head.StatusCode);
        }

        Assert.Equal(1, cluster.Store.Finds);
    }
}
