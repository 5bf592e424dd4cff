namespace Delivery.Origin.Tests;

/// <summary>Waits for what happens in the background: asks until it is so, and fails at the bound.</summary>
internal static class Until
{
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static async Task<T> TrueAsync<T>(Func<Task<T>> read, Func<T, bool> condition)
    {
        for (var deadline = DateTime.UtcNow + Limit; ;)
        {
            var value = await read();
            if (condition(value))
                return value;
            Assert.True(DateTime.UtcNow < deadline, $"Not so within {Limit}; last seen: {value}");
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }
}
