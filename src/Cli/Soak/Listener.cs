namespace Delivery.Cli.Soak;

/// <summary>One connection's worth of load: players that start, go on, seek, leave; downloads; a crawler that reads everything once.</summary>
internal sealed class Listener(SoakCatalog catalog, LiveEdge edge, SoakTally tally, int number, int listeners, ulong seed)
{
    private const int FirstRangeBytes = 64 * 1024;

    private readonly Random _random = new((int)(seed * 131 + (ulong)number));
    private readonly SoakExchange _exchange = new(tally);
    private int _crawled = number;

    public async Task RunAsync(CancellationToken ending)
    {
        while (!ending.IsCancellationRequested)
        {
            try
            {
                await ListenAsync(ending);
            }
            catch (OperationCanceledException) when (ending.IsCancellationRequested)
            {
            }
        }
    }

    private async Task ListenAsync(CancellationToken ending)
    {
        var target = catalog.Pick(_random);
        switch (_random.Next(100))
        {
            case < 55:
                await PlayAsync(target, ending);
                break;
            case < 63:
                await AskAsync(target, Ask.Whole(target), ending);
                break;
            case < 70:
                await AskAsync(target, Ask.From(target, _random.NextInt64(target.Length)), ending);
                break;
            case < 76:
                await AskAsync(target, Ask.Suffix(target, _random.NextInt64(1, target.Length + 10)), ending);
                break;
            case < 86:
                await AskAsync(target, Ask.From(target, _random.NextInt64(target.Length)) with { LeaveAfter = _random.Next(200_000) }, ending);
                break;
            case < 90:
                await AskAsync(target, Ask.Head(target), ending);
                break;
            case < 92:
                await AskAsync(target, Ask.PastEnd(target), ending);
                break;
            default:
                await CrawlAsync(ending);
                break;
        }
    }

    // 64 KiB first, as players do; then on in pieces, with a seek now and then, until the end or until the listener skips.
    private async Task PlayAsync(SoakObject target, CancellationToken ending)
    {
        if (await AskAsync(target, Ask.Part(target, 0, FirstRangeBytes), ending) == AnswerState.Hit)
            target.NoteHit();
        for (long position = FirstRangeBytes; position < target.Length && _random.Next(8) != 0;)
        {
            if (_random.Next(6) == 0)
                position = _random.NextInt64(target.Length);
            var length = _random.Next(16 * 1024, 512 * 1024);
            await AskAsync(target, Ask.Part(target, position, length), ending);
            position += length;
        }
    }

    // Objects in order, whole, once each: what must not flush what is hot.
    private async Task CrawlAsync(CancellationToken ending)
    {
        var target = catalog.Objects[_crawled % catalog.Objects.Count];
        _crawled += listeners;
        await AskAsync(target, Ask.Whole(target), ending);
    }

    private async Task<AnswerState?> AskAsync(SoakObject target, Ask ask, CancellationToken ending) =>
        await _exchange.RunAsync((await edge.WaitAsync(ending)).Door, target, ask, storeIsAway: false, ending);
}
