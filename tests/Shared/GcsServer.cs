using System.Collections.Concurrent;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Delivery.Tests;

/// <summary>
/// Google Cloud Storage's JSON API in this process, for tests and measurements: written from Google's documentation, strict where the service is. Buckets are made by the test;
/// everything else goes over HTTP on a free port of the loopback. It keeps contents beyond 64 KiB in files without a name, so that a process that tests with objects of gigabytes does not hold them.
/// </summary>
/// <remarks>
/// Sources: cloud.google.com/storage/docs (json_api/v1, performing-resumable-uploads, request-preconditions, data-validation, transcoding, status-codes),
/// developers.google.com/identity/protocols/oauth2/service-account.
/// Not here, as no driver of ours uses it: versioning, ACLs, retention, compose, rewrite, notifications, encryption keys, the XML API.
/// </remarks>
public sealed class GcsServer : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentDictionary<string, GcsBucket> _buckets = new(StringComparer.Ordinal);
    private readonly ConcurrentQueue<string> _requests = new();
    private readonly List<GcsFault> _faults = [];
    private readonly GcsUploads _uploads;
    private readonly GcsObjects _objects;
    private readonly CancellationTokenSource _stop = new();
    private long _clockAheadTicks;

    private GcsServer(WebApplication app, bool asksForTokens)
    {
        (_app, AsksForTokens) = (app, asksForTokens);
        (Tokens, _uploads, _objects) = (new(this), new(this), new(this));
    }

    public Uri Address { get; private set; } = null!;

    /// <summary>Off, it is a test bench: everybody may do everything.</summary>
    public bool AsksForTokens { get; }

    /// <summary>Its accounts and the tokens that it gives them.</summary>
    public GcsTokens Tokens { get; }

    /// <summary>How far its clock is ahead of this machine's.</summary>
    public TimeSpan ClockAhead
    {
        get => new(Interlocked.Read(ref _clockAheadTicks));
        set => Interlocked.Exchange(ref _clockAheadTicks, value.Ticks);
    }

    public DateTimeOffset Now => DateTimeOffset.UtcNow + ClockAhead;

    /// <summary>What was asked so far, as <c>METHOD target</c>, in order of arrival.</summary>
    public IReadOnlyCollection<string> Requests => _requests;

    /// <summary>Upload sessions that were neither completed nor cancelled.</summary>
    public int PendingUploads => _uploads.Pending;

    /// <summary>Cancelled when it is disposed, so that what it holds back ends.</summary>
    internal CancellationToken Stopping => _stop.Token;

    public static async Task<GcsServer> StartAsync(bool asksForTokens = true)
    {
        var builder = WebApplication.CreateEmptyBuilder(new());
        builder.Logging.ClearProviders();
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.Listen(IPAddress.Loopback, 0, listen => listen.Protocols = HttpProtocols.Http1);
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MinRequestBodyDataRate = null;
            kestrel.Limits.MinResponseDataRate = null;
        });
        builder.Services.Configure<HostOptions>(host => host.ShutdownTimeout = TimeSpan.FromSeconds(1));
        var app = builder.Build();
        var server = new GcsServer(app, asksForTokens);
        app.Run(server.HandleAsync);
        await app.StartAsync();
        server.Address = new(app.Urls.Single());
        return server;
    }

    /// <summary>An empty bucket in which nobody but its owner may do anything yet.</summary>
    public GcsBucket CreateBucket(string name) => _buckets.GetOrAdd(name, n => new(n));

    /// <summary>From now on, and as often as it says.</summary>
    public GcsFault Inject(GcsFault fault)
    {
        lock (_faults)
            _faults.Add(fault);
        return fault;
    }

    /// <summary>Ends every session that is not complete, as the service does after a week.</summary>
    public void ExpireUploads() => _uploads.Expire();

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _app.StopAsync();
        await _app.DisposeAsync();
        foreach (var bucket in _buckets.Values)
            bucket.Clear();
        _uploads.Dispose();
        _stop.Dispose();
    }

    internal GcsBucket Bucket(string name) => _buckets.TryGetValue(name, out var bucket) ? bucket : throw new GcsError(404, "notFound", "The specified bucket does not exist.");

    private GcsFault FaultFor(HttpRequest request)
    {
        lock (_faults)
            return _faults.FirstOrDefault(f => f.Takes(request)) ?? GcsFault.None;
    }

    private async Task HandleAsync(HttpContext http)
    {
        var target = http.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget;
        _requests.Enqueue($"{http.Request.Method} {target}");
        var fault = FaultFor(http.Request);
        try
        {
            var answer = await AnswerAsync(http, target, fault);
            if (fault.LosesAnswer)
                http.Abort();
            else
                await answer.SendAsync(http);
        }
        catch (GcsPlainError error)
        {
            await error.Answer.SendAsync(http);
        }
        catch (GcsError error)
        {
            if (!http.Response.HasStarted)
                await error.Answer(plain: http.Request.Query["alt"] == "media").SendAsync(http);
        }
        catch (Exception e) when (e is IOException or OperationCanceledException or Microsoft.AspNetCore.Http.BadHttpRequestException)
        {
            http.Abort(); // The client has left, or a fault has sent it away.
        }
    }

    /// <summary>The whole API. An object's name is one segment of the path, so that every <c>/</c> in it must come as <c>%2F</c>.</summary>
    private async Task<GcsAnswer> AnswerAsync(HttpContext http, string target, GcsFault fault)
    {
        await fault.Meanwhile();
        if (fault.Holds)
        {
            using var held = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token, http.RequestAborted);
            await Task.Delay(Timeout.Infinite, held.Token);
        }

        if (fault.Status is { } status)
            throw new GcsError(status, fault.Reason, fault.Message);
        var path = target.Split('?')[0].TrimStart('/').Split('/').Select(Uri.UnescapeDataString).ToArray();
        return (http.Request.Method, path) switch
        {
            ("POST", ["token"]) => await Tokens.GrantAsync(http),
            ("GET", ["computeMetadata", "v1", "instance", "service-accounts", "default", "token"]) => Tokens.OfMachine(http),
            ("GET", ["storage", "v1", "b", var bucket]) => _objects.GetBucket(http, bucket),
            ("GET", ["storage", "v1", "b", var bucket, "o"]) => _objects.List(http, bucket),
            ("GET", ["storage", "v1", "b", var bucket, "o", var name]) => _objects.Get(http, bucket, name, fault),
            ("GET", ["download", "storage", "v1", "b", var bucket, "o", var name]) => _objects.Get(http, bucket, name, fault),
            ("DELETE", ["storage", "v1", "b", var bucket, "o", var name]) => _objects.Delete(http, bucket, name),
            ("POST", ["storage", "v1", "b", _, "o"]) => throw new GcsError(400, "wrongUrlForUpload", "Uploads must be sent to the upload URL. Re-send this request to the /upload path."),
            ("POST", ["upload", "storage", "v1", "b", var bucket, "o"]) => await _uploads.InsertAsync(http, bucket, fault),
            ("PUT", ["upload", "storage", "v1", "b", _, "o"]) => await _uploads.ContinueAsync(http, fault),
            ("DELETE", ["upload", "storage", "v1", "b", _, "o"]) => _uploads.Cancel(http),
            _ => throw new GcsError(404, "notFound", "Not Found"),
        };
    }
}

/// <summary>Something that goes wrong at the server, as often as it says.</summary>
public sealed class GcsFault
{
    internal static readonly GcsFault None = new();
    private int _left = 1;

    /// <summary>Requests that it happens to. Default all.</summary>
    public Func<HttpRequest, bool> When { get; init; } = _ => true;

    /// <summary>How many of them. Default 1.</summary>
    public int Times
    {
        get => _left;
        init => _left = value;
    }

    /// <summary>Done before the request is served: what others do at the same time.</summary>
    public Func<Task> Meanwhile { get; init; } = () => Task.CompletedTask;

    /// <summary>Answers this and does nothing.</summary>
    public int? Status { get; init; }

    public string Reason { get; init; } = "backendError";

    public string Message { get; init; } = "Injected.";

    /// <summary>Does what was asked, and resets the connection instead of answering.</summary>
    public bool LosesAnswer { get; init; }

    /// <summary>Neither does nor answers anything.</summary>
    public bool Holds { get; init; }

    /// <summary>Bytes of an upload's body that still arrive; then the connection is reset. A session persists whole 256 KiB of them.</summary>
    public long? BreaksUploadAfter { get; init; }

    /// <summary>Bytes of an upload's chunk that are persisted although the whole chunk arrives: the answer says so. A multiple of 256 KiB.</summary>
    public long? PersistsOnly { get; init; }

    /// <summary>Bytes of an answer's body that still come; then the connection is reset.</summary>
    public long? BreaksBodyAfter { get; init; }

    /// <summary>Bytes of an answer's body that still come; then nothing.</summary>
    public long? HoldsBodyAfter { get; init; }

    /// <summary>The byte of an answer's body that comes changed.</summary>
    public long? ChangesByte { get; init; }

    /// <summary>A byte of the upload is changed on its way.</summary>
    public long? ChangesUploadByte { get; init; }

    /// <summary>The answer to an upload tells another CRC32C than that of what was made.</summary>
    public bool TellsOtherCrc32C { get; init; }

    /// <summary>Media answers come without these headers.</summary>
    public string[] LeavesOut { get; init; } = [];

    /// <summary>What happens to a piece of an upload's body.</summary>
    internal void Upload(HttpContext http, Span<byte> piece, long offset)
    {
        if (BreaksUploadAfter < offset + piece.Length)
        {
            http.Abort();
            throw new IOException("A fault broke the upload.");
        }

        if (ChangesUploadByte is { } changed && changed >= offset && changed < offset + piece.Length)
            piece[(int)(changed - offset)] ^= 1;
    }

    internal bool Takes(HttpRequest request) => _left > 0 && When(request) && Interlocked.Decrement(ref _left) >= 0;
}

/// <summary>A refusal, in the form that the API gives it (json_api/v1/status-codes).</summary>
internal sealed class GcsError(int status, string reason, string message) : Exception(message)
{
    public List<(string Name, string Value)> Headers { get; } = [];

    /// <param name="plain">Media answers carry the bare message.</param>
    public GcsAnswer Answer(bool plain = false)
    {
        var answer = plain
            ? new GcsAnswer(status) { ContentType = "text/html; charset=UTF-8", Text = Message }
            : GcsAnswer.Json(status, new JsonObject
            {
                ["error"] = new JsonObject
                {
                    ["code"] = status,
                    ["message"] = Message,
                    ["errors"] = new JsonArray(new JsonObject { ["message"] = Message, ["domain"] = "global", ["reason"] = reason }),
                },
            });
        answer.Headers.AddRange(Headers);
        return answer;
    }
}

/// <summary>A refusal that the upload servers give as bare text.</summary>
internal sealed class GcsPlainError(int status, string message) : Exception(message)
{
    public GcsAnswer Answer => new(status) { ContentType = "text/plain; charset=utf-8", Text = Message };
}

/// <summary>An answer before it is sent, so that a fault can still lose it.</summary>
internal sealed class GcsAnswer(int status)
{
    public List<(string Name, string Value)> Headers { get; } = [];

    public string? ContentType { get; init; }

    public string Text { get; init; } = "";

    /// <summary>Writes the body; the headers and its length are set.</summary>
    public Func<HttpContext, Task>? Body { get; init; }

    public static GcsAnswer Json(int status, JsonNode json) => new(status) { ContentType = "application/json; charset=UTF-8", Text = json.ToJsonString(new() { WriteIndented = true }) };

    public async Task SendAsync(HttpContext http)
    {
        http.Response.StatusCode = status;
        http.Response.ContentType = ContentType;
        foreach (var (name, value) in Headers)
            http.Response.Headers.Append(name, value);
        if (Body is not null)
        {
            await Body(http);
            return;
        }

        if (status is 204 or 304)
            return;
        var bytes = Encoding.UTF8.GetBytes(Text);
        http.Response.ContentLength = bytes.Length;
        await http.Response.Body.WriteAsync(bytes, http.RequestAborted);
    }
}
