using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using Delivery.Cli.CommandLine;
using Delivery.ObjectStore;

namespace Delivery.Cli.Stores;

/// <summary>
/// Proves by use that a store does what origins and workers need of one. Everything lies below <c>delivery-check/{random}/</c> and is removed at the end, however that comes.
/// </summary>
internal sealed class StoreCheck(IObjectStore store, CheckReport report)
{
    public const string Prefix = "delivery-check/";

    private const int SmallBytes = 200_000;

    /// <summary>More than two parts of S3's usual size, and no multiple of it.</summary>
    private const int LargeBytes = 20_000_000;

    private const int RangeBytes = 64 * 1024;

    private const int Racers = 8;

    private const string NotAsPrimary = "do not use this server as a primary: two origins would overwrite each other's manifests";

    private const string ContentType = "audio/x-delivery-check";

    /// <summary>Removing some fifty small objects takes seconds; beyond this they are named and left.</summary>
    private static readonly TimeSpan CleanUpTime = TimeSpan.FromSeconds(30);

    private readonly string _prefix = $"{Prefix}{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(8))}/";
    private readonly ConcurrentDictionary<ObjectKey, bool> _written = new();

    /// <returns>The exit code.</returns>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await CheckAsync(cancellationToken);
        }
        finally
        {
            await CleanUpAsync();
        }

        return report.End();
    }

    private async Task CheckAsync(CancellationToken stop)
    {
        string[] writing = ["create", "create twice", "replace", "replace stale", "race to create", "race to replace", "read", "ranges", "metadata", "digest refused", "large upload", "large create twice", "large race",
            "broken upload", "list after write", "delete", "clock", "range latency", "write latency"];
        if (!await report.StepAsync("reach", ReachAsync, stop))
        {
            report.Skip("the store cannot be used", ["list", .. writing]);
            return;
        }

        await report.StepAsync("list", ListEmptyAsync, stop);
        var bytes = new byte[SmallBytes];
        new Random(1).NextBytes(bytes);
        var key = Key("small");
        ObjectInfo? created = null;
        if (!await report.StepAsync("create", async () =>
            {
                created = await WriteAsync(key, bytes, WritePrecondition.Absent);
                return $"{SmallBytes} bytes, only if absent";
            }, stop))
        {
            report.Skip("nothing can be written", writing[1..]);
            return;
        }

        await report.StepAsync("create twice", () => RefusedAsync(key, WritePrecondition.Absent, "an object that was there has been created again"), stop);
        var stale = "";
        if (await report.StepAsync("replace", async () =>
            {
                stale = (await WriteAsync(key, bytes[1..], WritePrecondition.Version(created!.Version))).Version;
                await WriteAsync(key, bytes, WritePrecondition.None);
                return "only if unchanged";
            }, stop))
        {
            await report.StepAsync("replace stale", () => RefusedAsync(key, WritePrecondition.Version(stale), "a version that is not there any more has been replaced"), stop);
        }
        else
        {
            report.Skip("nothing was replaced", "replace stale");
        }

        await report.StepAsync("race to create", () => RaceAsync(Key("race-create"), null), stop);
        await report.StepAsync("race to replace", async () => await RaceAsync(Key("race-replace"), await WriteAsync(Key("race-replace"), bytes[..100], WritePrecondition.Absent)), stop);
        await report.StepAsync("read", () => ReadWholeAsync(key, bytes), stop);
        await report.StepAsync("ranges", () => RangesAsync(key, bytes), stop);
        await report.StepAsync("metadata", () => MetadataAsync(key, bytes), stop);
        await report.StepAsync("digest refused", DigestAsync, stop);
        if (await report.StepAsync("large upload", LargeAsync, stop))
        {
            await report.StepAsync("large create twice", LargeTwiceAsync, stop);
            await report.StepAsync("large race", LargeRaceAsync, stop);
            await report.LatencyAsync("range latency", RangeAsync, stop);
        }
        else
        {
            report.Skip("there is no large object", "large create twice", "large race", "range latency");
        }

        await report.StepAsync("broken upload", BrokenAsync, stop);
        await report.LatencyAsync("write latency", i => WriteAsync(Key($"latency-{i:D2}"), bytes[..1024], WritePrecondition.Absent), stop);
        await report.StepAsync("list after write", ListAllAsync, stop);
        await report.StepAsync("delete", () => DeleteAsync(key), stop);
        await report.StepAsync("clock", ClockAsync, stop);

        async Task<string?> ReachAsync()
        {
            await store.FindAsync(Key("nothing"), stop);
            return "reached, and let in";
        }

        async Task<string?> ListEmptyAsync()
        {
            await foreach (var entry in store.ListAsync(_prefix, null, stop))
                throw new CheckException($"'{entry.Key}' is there before anything was written.", "this server's listings cannot be relied on");
            return null;
        }

        async Task<ObjectInfo> WriteAsync(ObjectKey at, byte[] content, WritePrecondition precondition)
        {
            _written[at] = true;
            return await store.WriteAsync(
                at, new MemoryStream(content, writable: false), new() { ContentType = ContentType, ExpectedLength = content.Length, ExpectedSha256 = Sha256(content), Precondition = precondition }, stop);
        }

        async Task<string?> RefusedAsync(ObjectKey at, WritePrecondition precondition, string otherwise)
        {
            try
            {
                await WriteAsync(at, [1, 2, 3], precondition);
            }
            catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
            {
                return "refused, as it must be";
            }

            // Back to what the further checks read.
            await WriteAsync(at, bytes, WritePrecondition.None);
            throw new CheckException($"precondition ignored: {otherwise}", NotAsPrimary);
        }

        async Task<string?> RaceAsync(ObjectKey at, ObjectInfo? before)
        {
            var precondition = before is null ? WritePrecondition.Absent : WritePrecondition.Version(before.Version);
            var ends = await Task.WhenAll(Enumerable.Range(0, Racers).Select(async i =>
            {
                try
                {
                    await WriteAsync(at, [(byte)i, 42], precondition);
                    return (Racer: i, Failure: null);
                }
                catch (StoreException e)
                {
                    return (Racer: i, Failure: (StoreException?)e);
                }
            }));
            var winners = ends.Where(end => end.Failure is null).ToList();
            if (winners.Count > 1)
                throw new CheckException($"precondition ignored: {winners.Count} of {Racers} writers won", NotAsPrimary);
            if (ends.FirstOrDefault(end => end.Failure is { Error: not StoreError.PreconditionFailed }).Failure is { } other)
                throw other;
            if (winners.Count == 0)
                throw new CheckException($"none of {Racers} writers won", "this server's preconditions cannot be relied on");
            var there = await ReadAsync(at, null);
            return there is [var racer, 42] && racer == winners[0].Racer
                ? $"one of {Racers} wins"
                : throw new CheckException("what is there is not the winner's", NotAsPrimary);
        }

        async Task<byte[]?> ReadAsync(ObjectKey at, ObjectRange? range)
        {
            await using var read = await store.OpenReadAsync(at, range, stop);
            if (read is null)
                return null;
            using var received = new MemoryStream();
            await read.Content.CopyToAsync(received, stop);
            return received.ToArray();
        }

        async Task<string?> ReadWholeAsync(ObjectKey at, byte[] expected)
        {
            if (await ReadAsync(Key("nothing"), null) is not null)
                throw new CheckException("an object that was never written is there", "this server cannot be relied on");
            return await ReadAsync(at, null) is { } read && read.AsSpan().SequenceEqual(expected)
                ? $"{expected.Length} bytes, and no object where there is none"
                : throw new CheckException("it gives other bytes than were written", "something between here and the store changes bytes: do not use it before that is found");
        }

        async Task<string?> RangesAsync(ObjectKey at, byte[] expected)
        {
            foreach (var range in (ObjectRange[])[new(0, 1), new(0, RangeBytes), new(RangeBytes, RangeBytes), new(SmallBytes - 1, 1), new(SmallBytes - 10, 100), new(SmallBytes / 2, long.MaxValue)])
            {
                var (offset, length) = range.Within(SmallBytes);
                if (await ReadAsync(at, range) is not { } read || !read.AsSpan().SequenceEqual(expected.AsSpan((int)offset, (int)length)))
                    throw new CheckException($"it gives other bytes for {length} from {offset} on", "this server does not do ranges: no listener can be served from it");
            }

            try
            {
                await ReadAsync(at, new(SmallBytes, 1));
            }
            catch (StoreException e) when (e.Error == StoreError.RangeNotSatisfiable)
            {
                return "from the start, within, across the end, and past it";
            }

            throw new CheckException("a range past the end is answered", "this server does not do ranges: no listener can be served from it");
        }

        async Task<string?> MetadataAsync(ObjectKey at, byte[] expected)
        {
            var info = await store.FindAsync(at, stop) ?? throw new CheckException("what was written is not found", "this server cannot be relied on");
            if (info.Length != expected.Length || info.ContentType != ContentType)
                throw new CheckException($"it says {info.Length} bytes of {info.ContentType}, not {expected.Length} of {ContentType}", "this server changes what is written with an object");
            if (info.Sha256 != Sha256(expected))
                throw new CheckException(info.Sha256 is null ? "it has lost the digest" : $"it says SHA-256 {info.Sha256}, not {Sha256(expected)}", "this server does not keep user metadata: copies cannot be compared without reading them");
            return "length, type, SHA-256";
        }

        async Task<string?> DigestAsync()
        {
            var at = Key("wrong-digest");
            _written[at] = true;
            try
            {
                await store.WriteAsync(at, new MemoryStream(bytes), new() { ContentType = ContentType, ExpectedSha256 = Sha256(bytes[1..]) }, stop);
            }
            catch (StoreException e) when (e.Error == StoreError.DigestMismatch)
            {
                return await store.FindAsync(at, stop) is null ? "nothing of it is there" : throw new CheckException("the refused object is there", NotAsPrimary);
            }

            throw new CheckException("content of another digest than promised was taken", NotAsPrimary);
        }

        async Task<string?> LargeAsync()
        {
            _written[Key("large")] = true;
            await store.WriteAsync(Key("large"), new SampleContent(2, LargeBytes), new() { ContentType = ContentType, Precondition = WritePrecondition.Absent }, stop);
            await using var read = await store.OpenReadAsync(Key("large"), null, stop);
            if (read is null || read.Length != LargeBytes)
                throw new CheckException(read is null ? "it is not there" : $"it has {read.Length} bytes", "this server's uploads in parts cannot be relied on");
            var (got, wanted) = (await SHA256.HashDataAsync(read.Content, stop), await SHA256.HashDataAsync(new SampleContent(2, LargeBytes), stop));
            return got.AsSpan().SequenceEqual(wanted)
                ? $"{LargeBytes} bytes of a length that was not told before"
                : throw new CheckException("it gives other bytes than were written", "this server's uploads in parts cannot be relied on");
        }

        async Task<string?> LargeTwiceAsync()
        {
            try
            {
                await store.WriteAsync(Key("large"), new SampleContent(3, LargeBytes), new() { ContentType = ContentType, Precondition = WritePrecondition.Absent }, stop);
            }
            catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
            {
                return "refused, as it must be";
            }

            throw new CheckException("precondition ignored: a large object that was there has been created again", "set conditionalMultipart=false in the URL, and check again");
        }

        async Task<string?> LargeRaceAsync()
        {
            _written[Key("large-race")] = true;
            var ends = await Task.WhenAll(Enumerable.Range(0, 2).Select(async i =>
            {
                try
                {
                    await store.WriteAsync(Key("large-race"), new SampleContent(10 + i, LargeBytes / 2), new() { ContentType = ContentType, Precondition = WritePrecondition.Absent }, stop);
                    return true;
                }
                catch (StoreException e) when (e.Error == StoreError.PreconditionFailed)
                {
                    return false;
                }
            }));
            return ends.Count(won => won) switch
            {
                1 => "one of 2 wins",
                0 => throw new CheckException("none of 2 writers won", "this server's preconditions cannot be relied on"),
                // Masters and renditions are the only large objects, and no two of them with different bytes have one name.
                _ => throw new CheckException("both of 2 writers won", "nothing relies on it here; set conditionalMultipart=false in the URL where the server ignores conditions on uploads in parts", isWarning: true),
            };
        }

        Task RangeAsync(int i) => ReadAsync(Key("large"), new((i * 7919L * 4096) % (LargeBytes - RangeBytes), RangeBytes));

        async Task<string?> BrokenAsync()
        {
            var at = Key("broken");
            _written[at] = true;
            try
            {
                await store.WriteAsync(at, new SampleContent(4, LargeBytes, breakAfter: LargeBytes * 6 / 10), new() { ContentType = ContentType }, stop);
            }
            catch (StoreException e) when (e.Error == StoreError.ContentFailed)
            {
                if (await store.FindAsync(at, stop) is not null || await CountAsync(at.Value) > 0)
                    throw new CheckException("the part that arrived is there", NotAsPrimary);
                return "leaves no object";
            }

            throw new CheckException("an upload whose content broke was taken", NotAsPrimary);
        }

        async Task<int> CountAsync(string below)
        {
            var count = 0;
            await foreach (var entry in store.ListAsync(below, null, stop))
                count++;
            return count;
        }

        async Task<string?> ListAllAsync()
        {
            var listed = new HashSet<ObjectKey>();
            var last = "";
            await foreach (var entry in store.ListAsync(_prefix, null, stop))
            {
                listed.Add(entry.Key);
                if (ObjectKey.CompareUtf8(entry.Key.Value, last) <= 0)
                    throw new CheckException($"'{entry.Key}' is listed after '{last}'", "this server's listings cannot be relied on");
                last = entry.Key.Value;
            }

            foreach (var at in _written.Keys.Where(at => !listed.Contains(at)))
            {
                if (await store.FindAsync(at, stop) is not null)
                    throw new CheckException($"'{at}' is there and not listed", "this server's listings lag: reconcile and copy cannot be relied on");
            }

            return $"{listed.Count} objects, in order";
        }

        async Task<string?> DeleteAsync(ObjectKey at)
        {
            if (!await store.DeleteAsync(at, stop) || await store.FindAsync(at, stop) is not null)
                throw new CheckException("the deleted object is still there", "this server cannot be relied on");
            if (await CountAsync(at.Value) > 0)
                throw new CheckException("the deleted object is still listed", "this server's listings lag: reconcile and copy cannot be relied on");
            return !await store.DeleteAsync(at, stop) ? null : throw new CheckException("it is deleted twice", "this server cannot be relied on");
        }

        async Task<string?> ClockAsync()
        {
            var before = DateTimeOffset.UtcNow;
            var there = (await WriteAsync(Key("clock"), [1], WritePrecondition.None)).LastModified;
            var after = DateTimeOffset.UtcNow;
            // A store may tell whole seconds.
            var off = there < before.AddSeconds(-1) ? there - before : there > after ? there - after : TimeSpan.Zero;
            var text = string.Create(CultureInfo.InvariantCulture, $"the store's clock is {Math.Abs(off.TotalSeconds):0.0} s {(off < TimeSpan.Zero ? "behind" : "ahead of")} this machine's");
            if (off.Duration() >= TimeSpan.FromSeconds(30))
                throw new CheckException(text, "set this machine's clock (NTP): S3 refuses what is 15 minutes off, and embargoes open by the clock", isWarning: true);
            return off == TimeSpan.Zero ? "no difference" : text;
        }
    }

    private ObjectKey Key(string name) => ObjectKey.Parse(_prefix + name);

    private static string Sha256(byte[] bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    // Not by the caller's token: what was written is removed after Ctrl-C as well.
    private async Task CleanUpAsync()
    {
        if (_written.IsEmpty)
            return;
        using var bound = new CancellationTokenSource(CleanUpTime);
        await report.StepAsync("clean up", async () =>
        {
            try
            {
                // What is known to be there, and what a listing may find besides.
                await Parallel.ForEachAsync(_written.Keys, bound.Token, async (key, token) => await store.DeleteAsync(key, token));
                await foreach (var entry in store.ListAsync(_prefix, null, bound.Token))
                    await store.DeleteAsync(entry.Key, bound.Token);
                return "nothing is left";
            }
            catch (Exception e) when (e is StoreException or OperationCanceledException)
            {
                throw new CheckException($"objects below {_prefix} may be left: {e.Message}", "remove them by hand, or by a lifecycle rule for delivery-check/");
            }
        }, bound.Token);
    }
}
