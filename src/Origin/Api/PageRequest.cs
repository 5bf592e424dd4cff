using System.Globalization;
using Delivery.Origin.Catalog;
using Microsoft.AspNetCore.Http;

namespace Delivery.Origin.Api;

/// <summary><c>?after=&amp;limit=</c> of a list, and the link to the page that follows.</summary>
internal sealed record PageRequest(string After, int Limit)
{
    public const int MaxLimit = 500;
    public const int DefaultLimit = 100;

    /// <summary>How long a list waits for the read model's first build.</summary>
    private static readonly TimeSpan BuildWait = TimeSpan.FromSeconds(10);

    public static async Task<(PageRequest? Page, Problem? Problem)> ReadAsync(HttpContext context, ReadModel model, RequestErrors? errors = null)
    {
        errors ??= new RequestErrors();
        var query = context.Request.Query;
        var limit = DefaultLimit;
        if (query.TryGetValue("limit", out var text)
            && (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out limit) || limit is < 1 or > MaxLimit))
            errors.Add("?limit", $"must be a whole number from 1 to {MaxLimit}");
        var after = query["after"].ToString();
        if (after.Length > 200)
            errors.Add("?after", "must be an id of the page before");
        if (errors.Any)
            return (null, Problem.Validation(errors));
        try
        {
            await model.Built.WaitAsync(BuildWait, context.RequestAborted);
            return (new PageRequest(after, limit), null);
        }
        catch (TimeoutException)
        {
            return (null, Problem.Unavailable("The origin is still reading the catalog; lists are not there yet."));
        }
    }

    /// <summary>Cuts the element that only tells that there is more, and links to it.</summary>
    public string? Next<T>(string path, List<T> found, Func<T, string> id, string further = "")
    {
        if (found.Count <= Limit)
            return null;
        found.RemoveAt(Limit);
        return string.Create(CultureInfo.InvariantCulture, $"{path}?after={id(found[^1])}&limit={Limit}{further}");
    }
}
