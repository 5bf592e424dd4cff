using Microsoft.AspNetCore.Http;

namespace Delivery.Origin.Api;

/// <summary>Bounds what a request waits for the store: <see cref="OriginOptions.StoreTimeout"/>, or until its client leaves.</summary>
internal sealed class RequestDeadline(TimeSpan limit, TimeProvider time)
{
    public Running Start(HttpContext context) => new(limit, time, context.RequestAborted);

    public sealed class Running : IDisposable
    {
        private readonly CancellationTokenSource _timeout;
        private readonly CancellationTokenSource _either;

        public Running(TimeSpan limit, TimeProvider time, CancellationToken aborted)
        {
            _timeout = new CancellationTokenSource(limit, time);
            _either = CancellationTokenSource.CreateLinkedTokenSource(_timeout.Token, aborted);
        }

        public CancellationToken Token => _either.Token;

        public void Dispose()
        {
            _either.Dispose();
            _timeout.Dispose();
        }
    }
}
