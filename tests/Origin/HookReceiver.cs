using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Delivery.Origin.Tests;

/// <summary>A receiver of webhooks on a free port, with a secret of its own, that answers as it is told and checks signatures by the specification's words.</summary>
internal sealed class HookReceiver : IAsyncDisposable
{
    private readonly WebApplication _server;
    private readonly byte[] _secret = RandomNumberGenerator.GetBytes(32);

    private HookReceiver(WebApplication server) => _server = server;

    public ConcurrentQueue<(string Path, string Id, JsonElement Body, bool IsSigned)> Received { get; } = [];

    /// <summary>Status of the answer to the n-th request, from 1.</summary>
    public Func<int, int> Answer { get; set; } = _ => 204;

    public string Url => _server.Urls.Single() + "/hook";

    public string Secret => "whsec_" + Convert.ToBase64String(_secret);

    public static async Task<HookReceiver> StartAsync()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        builder.Services.AddSingleton<IHostLifetime, NoLifetime>();
        var server = builder.Build();
        var receiver = new HookReceiver(server);
        server.Run(receiver.TakeAsync);
        await server.StartAsync();
        return receiver;
    }

    public async ValueTask DisposeAsync() => await _server.DisposeAsync();

    private async Task TakeAsync(HttpContext context)
    {
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body);
        var headers = context.Request.Headers;
        string id = headers["webhook-id"].ToString(), timestamp = headers["webhook-timestamp"].ToString();
        byte[] message = [.. Encoding.UTF8.GetBytes(id + "." + timestamp + "."), .. body.ToArray()];
        var signed = Convert.ToBase64String(HMACSHA256.HashData(_secret, message));
        var isSigned = headers["webhook-signature"].ToString().Split(' ').Contains("v1," + signed) && long.Parse(timestamp, CultureInfo.InvariantCulture) > 0
            && context.Request.ContentType == "application/json";
        using var json = JsonDocument.Parse(body.ToArray());
        Received.Enqueue((context.Request.Path.Value!, id, json.RootElement.Clone(), isSigned));
        context.Response.StatusCode = Answer(Received.Count);
        context.Response.Headers.Location = "/elsewhere";
    }

    private sealed class NoLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
