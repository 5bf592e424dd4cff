using System.Collections.Concurrent;

namespace Delivery.Edge.Cache;

/// <summary>
/// FASTER's sessions belong to one thread at a time, are cheap to keep and dear to make: one slot per thread id in the common case, the bag takes the
/// collisions, and none is closed before the pool is. As many exist as threads were inside FASTER at once.
/// </summary>
internal sealed class SessionPool<T>(Func<T> make) : IDisposable
    where T : class, IDisposable
{
    private readonly T?[] _slots = new T?[64];
    private readonly ConcurrentBag<T> _spare = [];
    private int _made;

    /// <summary>Sessions made and not in the pool now; 0 when nobody is inside.</summary>
    public int InUse => Volatile.Read(ref _made) - _spare.Count - _slots.Count(s => s is not null);

    public T Rent()
    {
        ref var slot = ref _slots[Environment.CurrentManagedThreadId & (_slots.Length - 1)];
        return Interlocked.Exchange(ref slot, null) ?? (_spare.TryTake(out var session) ? session : Make());
    }

    public void Return(T session)
    {
        ref var slot = ref _slots[Environment.CurrentManagedThreadId & (_slots.Length - 1)];
        if (Interlocked.CompareExchange(ref slot, session, null) is not null)
            _spare.Add(session);
    }

    public void Dispose()
    {
        foreach (var session in _slots)
            session?.Dispose();
        foreach (var session in _spare)
            session.Dispose();
    }

    private T Make()
    {
        var session = make();
        Interlocked.Increment(ref _made);
        return session;
    }
}
