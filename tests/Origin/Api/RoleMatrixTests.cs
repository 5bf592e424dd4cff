using System.Net;
using Delivery.ObjectStore;
using Delivery.Origin.Api;
using Delivery.Origin.ApiKeys;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Routing.Patterns;

namespace Delivery.Origin.Tests.Api;

public class RoleMatrixTests
{
    /// <summary>As docs/api.md promises. An endpoint that is missing here, or gone, fails the test.</summary>
    private static readonly Dictionary<string, ApiRole[]> Promised = new()
    {
        ["PUT /v1/releases/{releaseId}"] = [ApiRole.Ingest],
        ["GET /v1/releases"] = [ApiRole.Ingest, ApiRole.Operate],
        ["GET /v1/releases/{releaseId}"] = [ApiRole.Ingest, ApiRole.Operate],
        ["PUT /v1/releases/{releaseId}/tracks/{trackId}/master"] = [ApiRole.Ingest],
        ["GET /v1/tracks/{trackId}"] = [ApiRole.Ingest, ApiRole.Operate],
        ["GET /v1/tracks/{trackId}/waveform"] = [ApiRole.Ingest, ApiRole.Playback, ApiRole.Operate],
        ["GET /v1/jobs"] = [ApiRole.Ingest, ApiRole.Operate],
        ["GET /v1/jobs/{jobId}"] = [ApiRole.Ingest, ApiRole.Operate],
        ["POST /v1/jobs/{jobId}:retry"] = [ApiRole.Ingest, ApiRole.Operate],
        ["POST /v1/jobs/{jobId}:cancel"] = [ApiRole.Ingest, ApiRole.Operate],
        ["GET /v1/ladders"] = [ApiRole.Ingest, ApiRole.Operate],
        ["GET /v1/ladders/{name}"] = [ApiRole.Ingest, ApiRole.Operate],
        ["PUT /v1/ladders/{name}"] = [ApiRole.Operate],
        ["POST /v1/backfills"] = [ApiRole.Operate],
        ["GET /v1/backfills"] = [ApiRole.Operate],
        ["GET /v1/backfills/{backfillId}"] = [ApiRole.Operate],
        ["DELETE /v1/backfills/{backfillId}"] = [ApiRole.Operate],
        ["POST /v1/playback"] = [ApiRole.Playback],
    };

    [Fact]
    public async Task EveryEndpoint_OpensToItsRolesAlone()
    {
        await using var origin = await OriginHarness.StartAsync();
        var endpoints = origin.Node.Endpoints
            .SelectMany(e => e.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Select(m => (Method: m, Path: e.RoutePattern.RawText!)))
            .ToList();
        Assert.Equal(Promised.Keys.Order(), endpoints.Select(e => $"{e.Method} {e.Path}").Order());

        foreach (var (method, path) in endpoints)
        {
            var url = path.Replace("{releaseId}", "r1", StringComparison.Ordinal).Replace("{trackId}", "t1", StringComparison.Ordinal).Replace("{jobId}", "t1.1", StringComparison.Ordinal);
            foreach (var role in Enum.GetValues<ApiRole>())
            {
                using var client = origin.ClientOf(role);
                using var response = await client.SendAsync(new HttpRequestMessage(new HttpMethod(method), url));
                var opens = Promised[$"{method} {path}"].Contains(role);
                Assert.True(opens != (response.StatusCode == HttpStatusCode.Forbidden), $"{role} {method} {path}: {(int)response.StatusCode}");
                if (!opens)
                    await OriginHarness.ProblemAsync(response, 403, "forbidden");
            }

            var (foreign, _) = ApiKey.Generate();
            foreach (var secret in new string?[] { null, "", "dk_", "dk_wrong", foreign, "dk_" + new string('x', 5000) })
            {
                using var client = origin.ClientOf((string?)null);
                var request = new HttpRequestMessage(new HttpMethod(method), url);
                if (secret is not null)
                    request.Headers.TryAddWithoutValidation("Authorization", "Bearer " + secret);
                using var response = await client.SendAsync(request);
                await OriginHarness.ProblemAsync(response, 401, "unauthenticated");
                Assert.Equal("Bearer", Assert.Single(response.Headers.WwwAuthenticate).Scheme);
            }
        }
    }

    [Fact]
    public async Task EndpointWithoutRoles_OpensToNobody()
    {
        var (secret, hash) = ApiKey.Generate();
        var gate = new RoleGate(_ => throw new InvalidOperationException("reached"), new ApiKeyRegister([new ApiKey { Name = "all", Roles = Enum.GetValues<ApiRole>(), Sha256 = hash }]));
        var context = new DefaultHttpContext { Response = { Body = new MemoryStream() } };
        context.Request.Headers.Authorization = "bearer " + secret;
        context.SetEndpoint(new RouteEndpoint(_ => Task.CompletedTask, RoutePatternFactory.Parse("/x"), 0, EndpointMetadataCollection.Empty, "x"));
        await gate.InvokeAsync(context);
        Assert.Equal(403, context.Response.StatusCode);
    }

    [Fact]
    public async Task WithoutConfiguredKeys_EverythingIsClosed()
    {
        await using var origin = await OriginHarness.StartAsync(h => h.Options.ApiKeys = []);
        foreach (var path in new[] { "/v1/releases", "/v1/tracks/t1", "/nope" })
        {
            using var response = await origin.Client.GetAsync(path);
            await OriginHarness.ProblemAsync(response, 401, "unauthenticated");
        }
    }

    [Fact]
    public void GeneratedKey_HasAFreshSecret_AndItsHash()
    {
        var (one, hash) = ApiKey.Generate();
        var (two, _) = ApiKey.Generate();
        Assert.StartsWith("dk_", one, StringComparison.Ordinal);
        Assert.Equal(46, one.Length);
        Assert.NotEqual(one, two);
        Assert.Equal(ApiKey.Hash(one), hash);
        var register = new ApiKeyRegister([new ApiKey { Name = "n", Roles = [ApiRole.Edge], Sha256 = hash.ToUpperInvariant() }]);
        Assert.Equal("n", register.Find("Bearer " + one)?.Name);
        foreach (var wrong in new[] { "Bearer " + two, "Basic " + one, one, "Bearer", "", "Bearer dk_" + new string('ü', 197) })
            Assert.Null(register.Find(wrong));
    }

    [Fact]
    public async Task SecretsAndUsers_AppearInNoLog()
    {
        using var log = new CapturingLog();
        await using var origin = await OriginHarness.StartAsync(h => h.Loggers = log);
        await origin.PublishAsync();
        await origin.GrantAsync(""", "userId": "user-4711", "country": "SE" """);
        origin.Store.BeforeWrite = _ => throw new StoreException(StoreError.Denied, "no");
        using var failed = await origin.Client.PutAsync("/v1/releases/r9", OriginHarness.Json(OriginHarness.Release("T", "", "t9")));
        Assert.Equal(HttpStatusCode.InternalServerError, failed.StatusCode);
        var text = log.Text;
        Assert.Contains("/v1/releases/r9", text, StringComparison.Ordinal);
        foreach (var secret in origin.Secrets)
            Assert.DoesNotContain(secret, text, StringComparison.Ordinal);
        Assert.DoesNotContain("user-4711", text, StringComparison.Ordinal);
    }
}
