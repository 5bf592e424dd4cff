using System.Net;
using Delivery.Origin.Api;

namespace Delivery.Origin.Tests.Ingest;

/// <summary>Counts the whole process's allocations, so nothing else may run beside it.</summary>
[CollectionDefinition(nameof(MasterMemoryTests), DisableParallelization = true)]
[Collection(nameof(MasterMemoryTests))]
public class MasterMemoryTests
{
    [Fact]
    public async Task LargeMaster_PassesInConstantMemory()
    {
        await using var origin = await OriginHarness.StartAsync();
        await origin.PutReleaseAsync();
        const long Size = 200L << 20;
        using var first = await origin.PutMasterAsync(new byte[1 << 20]); // Warm up pools before measuring.
        var before = GC.GetTotalAllocatedBytes(precise: true);
        using var response = await origin.Client.PutAsync("/v1/releases/r1/tracks/t1/master", new Zeros(Size));
        var allocated = GC.GetTotalAllocatedBytes(precise: true) - before;
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal(Size, (await OriginHarness.ReadAsync(response, ApiJson.Default.TrackStatus)).Master!.Bytes);
        Assert.True(allocated < Size / 8, $"{allocated} bytes were allocated for a master of {Size}");
    }

    private sealed class Zeros(long size) : HttpContent
    {
        private static readonly byte[] Buffer = new byte[1 << 16];

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
        {
            for (var left = size; left > 0; left -= Buffer.Length)
                await stream.WriteAsync(Buffer);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = size;
            return true;
        }
    }
}
