using System.Diagnostics.Metrics;
using System.Security.Cryptography;

namespace Delivery.TokenAuth;

/// <summary>
/// A key ring that follows its file. The file is read once a second (<see cref="PollInterval"/>), so that atomic renames, writes in place,
/// mounted secrets and network file systems all work alike. A file that cannot be used leaves the ring as it was.
/// </summary>
/// <remarks>
/// Every strict prefix of a JSON object is invalid JSON, so a file that is still being written is refused, not half applied, and read
/// again at the next poll. A file whose length or time of change moves during the read is left for the next poll.
/// </remarks>
public sealed class KeyRingFile : IDisposable
{
    /// <summary>Name of the meter of key ring metrics.</summary>
    public const string MeterName = "Delivery.TokenAuth";

    /// <summary>How soon a change is seen. Reading 64 KiB at most each second costs less than a watcher's special cases.</summary>
    public static readonly TimeSpan PollInterval = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly string _path;
    private readonly TimeProvider _time;
    private readonly ITimer _timer;
    private readonly Meter _meter = new(MeterName);
    private readonly Counter<long> _failures;

    private volatile KeyRing _current;
    private byte[] _currentDigest;
    private byte[]? _refusedDigest;
    private long _loadedAt;
    private long _reloadFailures;
    private volatile string? _lastError;

    /// <param name="path">The key ring file.</param>
    /// <param name="time">The clock to poll by; null: the system's.</param>
    /// <exception cref="KeyRingException">The file cannot be read or used.</exception>
    public KeyRingFile(string path, TimeProvider? time = null)
    {
        _path = Path.GetFullPath(path);
        _time = time ?? TimeProvider.System;
        try
        {
            var content = Read(_path) ?? throw new KeyRingException([$"'{_path}' is being changed"]);
            (_current, _currentDigest) = (KeyRing.Parse(content), SHA256.HashData(content));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
        {
            throw new KeyRingException([$"'{_path}' cannot be read: {e.Message}"], e);
        }
        catch (KeyRingException e)
        {
            throw new KeyRingException([.. e.Problems.Select(problem => $"'{_path}': {problem}")]);
        }

        _loadedAt = _time.GetTimestamp();
        _failures = _meter.CreateCounter<long>("delivery.tokenauth.keyring.reload_failures", null, "Changed key ring files that could not be used; the old ring stays.");
        _meter.CreateObservableGauge("delivery.tokenauth.keyring.age", () => _time.GetElapsedTime(Volatile.Read(ref _loadedAt)).TotalSeconds, "s", "Time since the key ring in use was loaded.");
        _meter.CreateObservableGauge("delivery.tokenauth.keyring.keys", () => _current.KeyIds.Count, null, "Keys in the key ring in use.");
        _timer = _time.CreateTimer(_ => CheckNow(), null, PollInterval, PollInterval);
    }

    /// <summary>The ring in use. Read it once for each request.</summary>
    public KeyRing Current => _current;

    /// <summary>How many changes of the file were refused; a file that stays bad counts once.</summary>
    public long ReloadFailures => Interlocked.Read(ref _reloadFailures);

    /// <summary>Why the file as it is now is not in use; null when it is.</summary>
    public string? LastError => _lastError;

    /// <summary>Looks at the file now. Never throws.</summary>
    public void CheckNow()
    {
        lock (_lock)
        {
            try
            {
                if (Read(_path) is { } content)
                    Apply(content);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException)
            {
                Refuse([], $"'{_path}' cannot be read: {e.Message}");
            }
        }
    }

    public void Dispose()
    {
        _timer.Dispose();
        _meter.Dispose();
    }

    private void Apply(byte[] content)
    {
        var digest = SHA256.HashData(content);
        if (digest.AsSpan().SequenceEqual(_currentDigest))
        {
            (_refusedDigest, _lastError) = (null, null);
            return;
        }

        try
        {
            _current = KeyRing.Parse(content);
            (_currentDigest, _refusedDigest, _lastError) = (digest, null, null);
            Volatile.Write(ref _loadedAt, _time.GetTimestamp());
        }
        catch (KeyRingException e)
        {
            Refuse(digest, $"'{_path}': {string.Join("; ", e.Problems)}");
        }
    }

    // A bad file is counted when it appears, not at every look at it.
    private void Refuse(byte[] digest, string error)
    {
        _lastError = error;
        if (_refusedDigest is not null && digest.AsSpan().SequenceEqual(_refusedDigest))
            return;
        _refusedDigest = digest;
        Interlocked.Increment(ref _reloadFailures);
        _failures.Add(1);
    }

    // Null: the file changed meanwhile. At most one byte more than a key ring may have is read, and Parse refuses that.
    private static byte[]? Read(string path)
    {
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, bufferSize: 0);
        var before = (RandomAccess.GetLength(file.SafeFileHandle), File.GetLastWriteTimeUtc(file.SafeFileHandle));
        var buffer = new byte[KeyRing.MaxFileBytes + 1];
        var content = buffer[..file.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false)];
        var after = (RandomAccess.GetLength(file.SafeFileHandle), File.GetLastWriteTimeUtc(file.SafeFileHandle));
        return before == after ? content : null;
    }
}
