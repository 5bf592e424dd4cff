using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// One writer or deleter of a key at a time, among the tasks of this process and among processes. A key belongs to one of 256 stripes; a
/// stripe is a semaphore here and a lock file (flock, which dies with its process) for the others.
/// </summary>
internal sealed class KeyLocks(string folder, TimeSpan timeout)
{
    /// <summary>So many lock files at most, whatever the number of keys. Two keys that share one merely wait for each other's commit.</summary>
    public const int Stripes = 256;

    /// <summary>A stripe is held for a rename and the syncs of folders; a disk that needs longer than this for them is as good as gone.</summary>
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(30);

    // flock has no wait with a time limit, so a lock held by another process is tried again: soon at first, then at a rate that costs nothing.
    private static readonly TimeSpan FirstRetry = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan LongestRetry = TimeSpan.FromMilliseconds(20);

    private readonly SemaphoreSlim[] _gates = [.. Enumerable.Range(0, Stripes).Select(_ => new SemaphoreSlim(1, 1))];

    /// <summary>The stripe of a key. Part of the on-disk contract: every process must choose the same.</summary>
    public static int StripeOf(ObjectKey key) => SHA256.HashData(Encoding.UTF8.GetBytes(key.Value))[0];

    /// <exception cref="StoreException"><see cref="StoreError.Unavailable"/> when the lock is not free within the time limit.</exception>
    public async ValueTask<Held> HoldAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        var stripe = StripeOf(key);
        var started = Stopwatch.GetTimestamp();
        if (!await _gates[stripe].WaitAsync(timeout, cancellationToken))
            throw TimedOut(key);
        try
        {
            for (var retry = FirstRetry; ; retry = TimeSpan.FromTicks(Math.Min(retry.Ticks * 2, LongestRetry.Ticks)))
            {
                if (TryLock(Path.Combine(folder, $"{stripe:x2}"), FileMode.OpenOrCreate) is { } file)
                    return new Held(_gates[stripe], file);
                if (Stopwatch.GetElapsedTime(started) > timeout)
                    throw TimedOut(key);
                await Task.Delay(retry, cancellationToken);
            }
        }
        catch
        {
            _gates[stripe].Release();
            throw;
        }
    }

    /// <summary>Opens a file and locks it; null when another holds it, or it is gone. FileShare.None is flock(LOCK_EX | LOCK_NB) on Linux.</summary>
    public static SafeFileHandle? TryLock(string path, FileMode mode)
    {
        const int Busy = 11; // EWOULDBLOCK, which .NET reports in HResult.
        try
        {
            return File.OpenHandle(path, mode, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException e) when (e.HResult == Busy || (mode == FileMode.Open && e is FileNotFoundException))
        {
            return null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Posix.Failure($"lock '{path}'", e);
        }
    }

    private StoreException TimedOut(ObjectKey key) =>
        new(StoreError.Unavailable, $"The lock of '{key}' was not free within {timeout.TotalSeconds:0.###} s.");

    /// <summary>A held stripe; dispose it to let the next one in.</summary>
    public readonly struct Held(SemaphoreSlim gate, SafeFileHandle file) : IDisposable
    {
        public void Dispose()
        {
            file.Dispose();
            gate.Release();
        }
    }
}
