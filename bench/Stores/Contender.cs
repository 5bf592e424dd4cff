using System.Buffers;
using System.Diagnostics;

namespace Delivery.Bench.Stores;

/// <summary>One way to read a range of one object.</summary>
/// <param name="Name">In the table.</param>
/// <param name="OpenAsync">Asks for so many bytes from an offset; what it gives is disposed after the last.</param>
internal sealed record Contender(string Name, Func<long, long, Task<(Stream Content, IAsyncDisposable Owner)>> OpenAsync)
{
    private const int BufferBytes = 128 * 1024;

    /// <summary>Reads ranges one after another, or several at a time, at offsets that go round the object.</summary>
    public async Task<Batch> ReadAsync(int ranges, int concurrency, long rangeBytes, long objectBytes)
    {
        var firstBytes = new double[ranges];
        var next = -1;
        var (cpu, allocated, started) = (Environment.CpuUsage.TotalTime, GC.GetTotalAllocatedBytes(), Stopwatch.GetTimestamp());
        await Task.WhenAll(Enumerable.Range(0, concurrency).Select(_ => Task.Run(async () =>
        {
            for (int i; (i = Interlocked.Increment(ref next)) < ranges;)
                firstBytes[i] = await ReadOneAsync(i * rangeBytes % (objectBytes - rangeBytes + 1), rangeBytes);
        })));
        var elapsed = Stopwatch.GetElapsedTime(started).TotalSeconds;
        Array.Sort(firstBytes);
        return new(
            firstBytes[ranges / 2],
            firstBytes[(int)Math.Ceiling(0.99 * ranges) - 1],
            ranges * rangeBytes / elapsed / 1e6,
            (Environment.CpuUsage.TotalTime - cpu).TotalMicroseconds / ranges,
            (GC.GetTotalAllocatedBytes() - allocated) / (double)ranges);
    }

    private async Task<double> ReadOneAsync(long offset, long length)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        var started = Stopwatch.GetTimestamp();
        var (content, owner) = await OpenAsync(offset, length);
        await using (owner)
        {
            var read = await content.ReadAsync(buffer.AsMemory(0, BufferBytes));
            var firstByte = Stopwatch.GetElapsedTime(started).TotalMilliseconds;
            for (var left = length - read; left > 0; left -= read)
            {
                read = await content.ReadAsync(buffer.AsMemory(0, BufferBytes));
                if (read == 0)
                    throw new EndOfStreamException($"{Name} ended {left} bytes early.");
            }

            ArrayPool<byte>.Shared.Return(buffer);
            return firstByte;
        }
    }
}

/// <summary>What a batch of reads took.</summary>
internal sealed record Batch(double FirstByteP50, double FirstByteP99, double MegabytesPerSecond, double CpuMicroseconds, double AllocatedBytes);
