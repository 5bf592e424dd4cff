using System.Security.Cryptography;

namespace Delivery.ObjectStore;

/// <summary>Repeatable bytes, and what the tests ask of a store in one line.</summary>
internal static class TestContent
{
    public static byte[] Bytes(int length, int seed)
    {
        var bytes = new byte[length];
        new Random(seed).NextBytes(bytes);
        return bytes;
    }

    public static string Sha256(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    public static ValueTask<ObjectInfo> PutAsync(
        this IObjectStore store, ObjectKey key, byte[] bytes, WritePrecondition precondition = default, CancellationToken cancellationToken = default) =>
        store.WriteAsync(key, new MemoryStream(bytes), new ObjectWrite { ContentType = "audio/ogg", Precondition = precondition, ExpectedLength = bytes.Length }, cancellationToken);

    public static async Task<(ObjectInfo Info, byte[] Bytes)?> GetAsync(this IObjectStore store, ObjectKey key, ObjectRange? range = null)
    {
        await using var read = await store.OpenReadAsync(key, range, TestContext.Current.CancellationToken);
        if (read is null)
            return null;
        var bytes = new MemoryStream();
        await read.Content.CopyToAsync(bytes, TestContext.Current.CancellationToken);
        Assert.Equal(read.Length, bytes.Length);
        return (read.Info, bytes.ToArray());
    }

    public static async Task<List<ObjectEntry>> EntriesAsync(this IObjectStore store, string prefix = "", string? startAfter = null)
    {
        var entries = new List<ObjectEntry>();
        await foreach (var entry in store.ListAsync(prefix, startAfter, TestContext.Current.CancellationToken))
            entries.Add(entry);
        return entries;
    }

    public static async Task<StoreException> FailsAsync(StoreError error, Func<ValueTask> call)
    {
        var exception = await Assert.ThrowsAsync<StoreException>(async () => await call());
        Assert.Equal(error, exception.Error);
        return exception;
    }
}

/// <summary>A content under the test's control: so many repeatable bytes in pieces, then an end, a failure, or a stall until it is let go.</summary>
internal sealed class ScriptedContent(long length, int pieceSize) : Stream
{
    private static readonly byte[] Pattern = TestContent.Bytes(1 << 20, seed: 77);
    private long _given;

    public Exception? FailsWith { get; init; }

    public Task? StallsAtEnd { get; init; }

    public Action<long>? OnRead { get; init; }

    /// <summary>Completes when every byte has been given and the stall begins.</summary>
    public TaskCompletionSource Reached { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public static void Fill(Span<byte> buffer, long offset)
    {
        while (buffer.Length > 0)
        {
            var piece = Pattern.AsSpan((int)(offset % Pattern.Length));
            piece = piece[..Math.Min(piece.Length, buffer.Length)];
            piece.CopyTo(buffer);
            buffer = buffer[piece.Length..];
            offset += piece.Length;
        }
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        OnRead?.Invoke(_given);
        var piece = (int)Math.Min(Math.Min(pieceSize, buffer.Length), length - _given);
        if (piece == 0)
        {
            Reached.TrySetResult();
            if (StallsAtEnd is not null)
                await StallsAtEnd.WaitAsync(cancellationToken);
            return FailsWith is null ? 0 : throw FailsWith;
        }

        Fill(buffer.Span[..piece], _given);
        _given += piece;
        return piece;
    }

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException("A store reads its content asynchronously.");

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => false;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override void Flush()
    {
    }

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}
