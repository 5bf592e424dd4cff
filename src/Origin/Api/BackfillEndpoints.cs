using Delivery.Origin.ApiKeys;
using Delivery.Origin.Backfills;
using Delivery.Origin.Catalog;
using Delivery.Transcoder.Ladders;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;

namespace Delivery.Origin.Api;

/// <summary>Orders to make the catalogue with another ladder.</summary>
internal sealed class BackfillEndpoints(CatalogStore catalog, ReadModel model, LadderStore ladders, BackfillRun run, RequestDeadline deadline, TimeProvider time)
{
    public void Map(IEndpointRouteBuilder app)
    {
        app.MapPost("/v1/backfills", (Delegate)PostAsync).For(ApiRole.Operate);
        app.MapGet("/v1/backfills", (Delegate)ListAsync).For(ApiRole.Operate);
        app.MapGet("/v1/backfills/{backfillId}", GetAsync).For(ApiRole.Operate);
        app.MapDelete("/v1/backfills/{backfillId}", DeleteAsync).For(ApiRole.Operate);
    }

    private async Task<IResult> PostAsync(HttpContext context)
    {
        using var limit = deadline.Start(context);
        var errors = new RequestErrors();
        var (ladder, problem) = await JsonBody.ReadAsync(context.Request, (body, e) => JsonFields.Of(body, "", e, "ladder")?.Text("ladder", 64, required: true), errors);
        if (problem is not null)
            return problem;
        if (ladder is not null && await ladders.FindAsync(ladder, limit.Token) is null)
            errors.Add("/ladder", $"there is no ladder '{ladder}'");
        if (errors.Any)
            return Problem.Validation(errors);
        if ((await catalog.ReadBackfillsAsync(limit.Token)).FirstOrDefault(b => b.State == BackfillState.Running && b.Ladder != ladder) is { } other)
            return Problem.BackfillRunning(other.Ladder);

        var backfill = await catalog.UpdateBackfillAsync(
            ladder!,
            before => before switch
            {
                { State: BackfillState.Running } => before,
                { } ended => ended with { State = BackfillState.Running, StartedAt = time.GetUtcNow(), EndedAt = null, Runner = null },
                null => new BackfillManifest { Ladder = ladder!, State = BackfillState.Running, StartedAt = time.GetUtcNow() },
            },
            limit.Token);
        run.Ask();
        context.Response.Headers.Location = $"/v1/backfills/{ladder}";
        return await ShowAsync(backfill!, StatusCodes.Status202Accepted, limit.Token);
    }

    private async Task<IResult> ListAsync(HttpContext context)
    {
        using var limit = deadline.Start(context);
        await model.Built.WaitAsync(limit.Token);
        var now = time.GetUtcNow();
        return Results.Json(new BackfillList([.. (await catalog.ReadBackfillsAsync(limit.Token)).Select(b => BackfillProgress.Show(b, model, now))]), ApiJson.Default.BackfillList);
    }

    private async Task<IResult> GetAsync(HttpContext context, string backfillId)
    {
        using var limit = deadline.Start(context);
        return CatalogKeys.IsId(backfillId) && await catalog.ReadBackfillAsync(backfillId, limit.Token) is { } backfill
            ? await ShowAsync(backfill, StatusCodes.Status200OK, limit.Token)
            : NoSuch(backfillId);
    }

    private async Task<IResult> DeleteAsync(HttpContext context, string backfillId)
    {
        using var limit = deadline.Start(context);
        if (!CatalogKeys.IsId(backfillId) || await catalog.UpdateBackfillAsync(
            backfillId,
            before => before is { State: BackfillState.Running } ? before with { State = BackfillState.Cancelled, EndedAt = time.GetUtcNow(), Runner = null } : before,
            limit.Token) is not { } backfill)
            return NoSuch(backfillId);
        run.Ask();
        return await ShowAsync(backfill, StatusCodes.Status200OK, limit.Token);
    }

    private async Task<IResult> ShowAsync(BackfillManifest backfill, int status, CancellationToken cancellationToken)
    {
        await model.Built.WaitAsync(cancellationToken);
        return Results.Json(BackfillProgress.Show(backfill, model, time.GetUtcNow()), ApiJson.Default.BackfillStatus, statusCode: status);
    }

    private static Problem NoSuch(string backfillId) => Problem.NotFound($"There is no backfill '{backfillId}'.");
}
