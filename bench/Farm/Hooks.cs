using System.Collections.Concurrent;
using System.Net;
using System.Text.Json;

namespace Delivery.Bench.Farm;

/// <summary>Takes the origin's webhooks, as a label's system would: it answers every third with 503.</summary>
internal sealed class Hooks : IDisposable
{
    private readonly HttpListener _listener = new();
    private int _calls;

    public Hooks()
    {
        using (var free = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0))
        {
            free.Start();
            Url = $"http://127.0.0.1:{((IPEndPoint)free.LocalEndpoint).Port}/";
        }

        _listener.Prefixes.Add(Url);
        _listener.Start();
        _ = ServeAsync();
    }

    public string Url { get; }

    /// <summary>Event ids by track, each with its type.</summary>
    public ConcurrentDictionary<string, ConcurrentDictionary<string, string>> Events { get; } = new();

    public void Dispose() => _listener.Close();

    private async Task ServeAsync()
    {
        while (true)
        {
            HttpListenerContext context;
            try
            {
                context = await _listener.GetContextAsync();
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                return;
            }

            using var body = await JsonDocument.ParseAsync(context.Request.InputStream);
            if (Interlocked.Increment(ref _calls) % 3 == 0)
            {
                context.Response.StatusCode = 503;
            }
            else
            {
                var track = body.RootElement.GetProperty("data").GetProperty("trackId").GetString()!;
                Events.GetOrAdd(track, _ => new())[context.Request.Headers["webhook-id"]!] = body.RootElement.GetProperty("type").GetString()!;
                context.Response.StatusCode = 204;
            }

            context.Response.Close();
        }
    }
}
