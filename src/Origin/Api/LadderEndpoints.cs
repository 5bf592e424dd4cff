using Delivery.ObjectStore;
using Delivery.Origin.ApiKeys;
using Delivery.Transcoder.Ladders;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary>The ladders that masters can be made with: <c>PUT</c> adds one for good, nothing changes one.</summary>
internal sealed class LadderEndpoints(LadderStore ladders, OriginOptions options, RequestDeadline deadline)
{
    public void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/v1/ladders", (Delegate)ListAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapGet("/v1/ladders/{name}", GetAsync).For(ApiRole.Ingest, ApiRole.Operate);
        app.MapPut("/v1/ladders/{name}", PutAsync).For(ApiRole.Operate);
    }

    private async Task<IResult> ListAsync(HttpContext context)
    {
        using var limit = deadline.Start(context);
        var names = new List<LadderSummary>();
        await foreach (var name in ladders.ListAsync(limit.Token))
            names.Add(new LadderSummary(name, name == Ladder.Default.Name, name == options.Ladder));
        return Results.Json(new LadderList(names), ApiJson.Default.LadderList);
    }

    private async Task<IResult> GetAsync(HttpContext context, string name)
    {
        using var limit = deadline.Start(context);
        return await ladders.FindAsync(name, limit.Token) is { } ladder ? Show(ladder) : Problem.NotFound($"There is no ladder '{name}'.");
    }

    private async Task<IResult> PutAsync(HttpContext context, string name)
    {
        using var limit = deadline.Start(context);
        if (!context.Request.HasJsonContentType() || context.Request.Headers.ContentEncoding.Count > 0)
            return Problem.MediaType("The body must be application/json, without a Content-Encoding.");
        context.Features.Get<IHttpMaxRequestBodySizeFeature>()!.MaxRequestBodySize = LadderStore.MaxBytes;
        using var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, limit.Token);
        Ladder ladder;
        try
        {
            ladder = Ladder.Parse(body.GetBuffer().AsSpan(0, (int)body.Length));
        }
        catch (LadderException e)
        {
            var errors = new RequestErrors();
            foreach (var problem in e.Problems)
                errors.Add("", problem);
            return Problem.Validation(errors);
        }

        if (ladder.Name != name)
            return Problem.Validation("/name", $"is '{ladder.Name}', and the path says '{name}'");
        var (isThere, isNew) = await ladders.AddAsync(ladder, limit.Token);
        if (!isThere)
            return Problem.LadderExists(name);
        if (isNew)
        {
            context.Response.StatusCode = StatusCodes.Status201Created;
            context.Response.Headers.Location = $"/v1/ladders/{name}";
        }

        return Show(ladder);
    }

    private static IResult Show(Ladder ladder) => Results.Bytes(ladder.ToJson(), "application/json");
}
