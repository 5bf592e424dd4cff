using System.Net;
using System.Security.Cryptography.X509Certificates;
using Delivery.Edge.Tests.Requests;
using Delivery.Edge.Upstreams;
using Delivery.ObjectStore;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;

namespace Delivery.Edge.Tests.Upstreams;

/// <summary>An origin behind TLS, by the protocol that it offers.</summary>
public sealed class HttpsUpstreamTests
{
    private static readonly byte[] Content = EdgeFixture.Bytes(300_000);

    [Theory]
    [InlineData(HttpProtocols.Http1AndHttp2, "HTTP/2")]
    [InlineData(HttpProtocols.Http1, "HTTP/1.1")]
    public async Task Https_IsAskedByHttp2WhereItIsOffered(HttpProtocols offered, string spoken)
    {
        using var certificate = new TestCertificate();
        var protocols = new List<string>();
        await using var origin = await StartAsync(certificate, offered, protocols);
        var options = new EdgeOptions { UpstreamRetries = 0, Upstreams = [new() { Kind = UpstreamKind.Http, Address = AddressOf(origin), CaPath = certificate.CertificatePath }] };
        await using var set = UpstreamSet.Create(options, ScriptedUpstream.NoStore, null, TimeProvider.System, NullLogger.Instance);
        await using (var read = await set.OpenAsync(new("/audio/x.ogg", ObjectKey.Parse("audio/x.ogg"), 0), new(1000, 200_000), TestContext.Current.CancellationToken))
        {
            var body = new byte[200_000];
            await read!.Content.ReadExactlyAsync(body, TestContext.Current.CancellationToken);
            Assert.Equal(Content[1000..201_000], body);
        }

        Assert.Equal([spoken], protocols);
    }

    [Fact]
    public void FileOfAuthorities_ThatIsNone_IsSaid()
    {
        var file = Path.GetTempFileName();
        try
        {
            var options = new EdgeOptions { Upstreams = [new() { Kind = UpstreamKind.Http, Address = "https://origin.example", CaPath = file }] };
            Assert.Contains("CaPath", Assert.Throws<EdgeStartException>(() => UpstreamSet.Create(options, ScriptedUpstream.NoStore, null, TimeProvider.System, NullLogger.Instance)).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static string AddressOf(WebApplication origin) =>
        origin.Services.GetRequiredService<IServer>().Features.GetRequiredFeature<IServerAddressesFeature>().Addresses.Single().Replace("127.0.0.1", "localhost", StringComparison.Ordinal);

    private static async Task<WebApplication> StartAsync(TestCertificate certificate, HttpProtocols offered, List<string> protocols)
    {
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore().UseKestrelHttpsConfiguration().ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0, listen =>
        {
            listen.Protocols = offered;
            listen.UseHttps(X509Certificate2.CreateFromPemFile(certificate.CertificatePath, certificate.KeyPath));
        }));
        var origin = builder.Build();
        origin.Run(async context =>
        {
            lock (protocols)
                protocols.Add(context.Request.Protocol);
            context.Response.Headers.ETag = "\"v1\"";
            context.Response.StatusCode = StatusCodes.Status206PartialContent;
            context.Response.ContentType = "audio/ogg";
            context.Response.ContentLength = 200_000;
            context.Response.Headers.ContentRange = $"bytes 1000-200999/{Content.Length}";
            await context.Response.Body.WriteAsync(Content.AsMemory(1000, 200_000));
        });
        await origin.StartAsync();
        return origin;
    }
}
