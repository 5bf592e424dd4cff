using Delivery.Edge.Upstreams;

namespace Delivery.Edge.Tests.Upstreams;

public sealed class UpstreamOptionsTests : IDisposable
{
    private static readonly SiblingOptions Me = new() { Id = "edge-a", Address = "http://10.0.0.1:8082" };
    private static readonly SiblingOptions Other = new() { Id = "edge-b", Address = "https://10.0.0.2:8082/" };
    private static readonly UpstreamOptions Store = new() { Kind = UpstreamKind.Store };

    private readonly string _ring = Path.GetTempFileName();

    public void Dispose() => File.Delete(_ring);

    public static TheoryData<UpstreamOptions[], string> Bad => new()
    {
        { [], "Upstreams: 1 to 8" },
        { [.. Enumerable.Range(0, 9).Select(i => new UpstreamOptions { Kind = UpstreamKind.Http, Name = $"h{i}", Address = "http://o" })], "Upstreams: 1 to 8, not 9" },
        { [Store, Store with { Name = "other" }], "one of kind Store without an Address" },
        { [Store with { Address = "s3://eu-audio/x" }, Store with { Address = "gs://us-audio" }], "the name 'store' stands 2 times" },
        { [Http("http://a"), Http("http://b")], "the name 'http' stands 2 times" },
        { [Store with { Name = "a b" }], "Upstreams[0].Name 'a b'" },
        { [Store with { Name = new('x', 65) }], "Upstreams[0].Name" },
        { [Store with { Kind = (UpstreamKind)9 }], "Upstreams[0].Kind 9" },
        { [Store with { Address = "http://a" }], "Upstreams[0].Address: 'http://a' does not name a store: its scheme is 'http'" },
        { [Store with { Address = "s3://b" }], "Upstreams[0].Address: 's3://b' does not name a store: 'b' is not a bucket's name" },
        { [Store with { Address = "" }], "Upstreams[0].Address: '' does not name a store: it is empty" },
        { [Siblings(Me, Other) with { Address = "http://a" }, Store], "Upstreams[0].Address 'http://a': not for Siblings" },
        { [Http(null)], "Upstreams[0].Address" },
        { [Http("ftp://a")], "Upstreams[0].Address" },
        { [Http("origin.example")], "Upstreams[0].Address" },
        { [Http("http://user:secret@a")], "Upstreams[0].Address" },
        { [Http("http://a/?x=1")], "Upstreams[0].Address" },
        { [Store with { CaPath = "/none" }], "Upstreams[0].CaPath '/none': not for Store" },
        { [Http("https://a") with { CaPath = "/none" }], "Upstreams[0].CaPath '/none': no such file" },
        { [Store with { Members = [Me] }], "Upstreams[0].Members: not for Store" },
        { [Siblings(Me, Other)], "needs an upstream after it" },
        { [Siblings(Me), Store], "Members: 2 to 64" },
        { [Siblings(Me, Me with { Address = Other.Address }), Store], "each Id once" },
        { [Siblings(Other, Other with { Id = "edge-c" }), Store], "this edge, 'edge-a', is missing" },
        { [Siblings(Me, Other with { Address = "http://10.0.0.2/path" }), Store], "Address 'http://10.0.0.2/path' of 'edge-b'" },
        { [Siblings(Me, Other with { Id = "" }), Store], "Id ''" },
        { [Siblings(Me, Other), Siblings(Me, Other) with { Name = "more" }, Store], "one of kind Siblings" },
    };

    [Theory]
    [MemberData(nameof(Bad), DisableDiscoveryEnumeration = true)]
    public void BadUpstreams_AreNamed(UpstreamOptions[] upstreams, string error) =>
        Assert.Contains(Options(upstreams).Validate(), e => e.Contains(error, StringComparison.Ordinal));

    [Fact]
    public void GoodUpstreams_AreTaken()
    {
        Assert.Empty(Options(Store).Validate());
        Assert.Empty(Options(Store, Store with { Name = "dr", Address = "s3://eu-audio/x?region=eu-west-1" }, Store with { Name = "folder", Address = "/srv/audio" }).Validate());
        Assert.Empty(Options(Siblings(Me, Other), new() { Kind = UpstreamKind.Peer, Address = "https://shield.example:8082" }, Http("http://o:81/prefix/"), Store).Validate());
    }

    [Fact]
    public void EveryError_IsToldAtOnce()
    {
        var errors = Options(Http(null), Store with { Name = "" }, Siblings(Me)).Validate();
        Assert.Equal(4, errors.Count);
    }

    [Fact]
    public void Peers_NeedAKeyRingOfTheirOwn()
    {
        var shield = new UpstreamOptions { Kind = UpstreamKind.Peer, Address = "http://shield:8082" };
        Assert.Contains(new EdgeOptions { KeyRingPath = "k", Upstreams = [shield] }.Validate(), e => e.Contains("needs PeerKeyRingPath", StringComparison.Ordinal));
        Assert.Contains((Options(shield) with { KeyRingPath = _ring }).Validate(), e => e.StartsWith("PeerKeyRingPath: another file", StringComparison.Ordinal));
        Assert.Contains((Options(shield) with { PeerKeyRingPath = "/none" }).Validate(), e => e.StartsWith("PeerKeyRingPath '/none'", StringComparison.Ordinal));
        Assert.Contains((Options(shield) with { PeerTls = true }).Validate(), e => e.StartsWith("PeerTls", StringComparison.Ordinal));
        Assert.Contains((Options(shield) with { PeerPort = 8080 }).Validate(), e => e.Contains("must differ", StringComparison.Ordinal));
        Assert.Contains((Options(shield) with { PeerHost = "nowhere" }).Validate(), e => e.StartsWith("PeerHost 'nowhere'", StringComparison.Ordinal));
    }

    private static UpstreamOptions Http(string? address) => new() { Kind = UpstreamKind.Http, Address = address };

    private static UpstreamOptions Siblings(params SiblingOptions[] members) => new() { Kind = UpstreamKind.Siblings, Members = members };

    private EdgeOptions Options(params UpstreamOptions[] upstreams) => new() { EdgeId = "edge-a", KeyRingPath = "keys.json", PeerKeyRingPath = _ring, Upstreams = upstreams };
}
