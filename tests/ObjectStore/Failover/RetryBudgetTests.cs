namespace Delivery.ObjectStore.Failover;

public sealed class RetryBudgetTests
{
    [Fact]
    public void Burst_ThenATenthOfTheRequests()
    {
        var budget = new RetryBudget();
        Assert.Equal(RetryBudget.MaxTokens, Spend(budget, 100));
        for (var i = 0; i < 1000; i++)
            budget.Earn();
        // The purse is bounded, however quiet it was.
        Assert.Equal(RetryBudget.MaxTokens, Spend(budget, 100));
        var spent = 0;
        for (var i = 0; i < 1000; i++)
        {
            budget.Earn();
            spent += budget.TrySpend() ? 1 : 0;
        }

        Assert.Equal(100, spent);
        Assert.Equal(90 + 90 + 900, budget.Refused);
    }

    [Fact]
    public void ManyThreads_SpendNoMoreThanThereIs()
    {
        var budget = new RetryBudget();
        var spent = 0;
        Parallel.For(0, 10_000, _ =>
        {
            budget.Earn();
            if (budget.TrySpend())
                Interlocked.Increment(ref spent);
        });
        Assert.InRange(spent, 900, 1010);
    }

    private static int Spend(RetryBudget budget, int times) => Enumerable.Range(0, times).Count(_ => budget.TrySpend());
}
