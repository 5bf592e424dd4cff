using System.Globalization;
using System.Security.Cryptography;
using Delivery.ObjectStore;

namespace Delivery.Cli.Stores;

/// <summary>Proves an edge's credentials: they read <c>audio/</c>, and nothing else is theirs to do.</summary>
internal sealed class ReadOnlyCheck(IObjectStore store, CheckReport report)
{
    private const string AudioPrefix = "audio/";

    private const int RangeBytes = 64 * 1024;

    /// <returns>The exit code.</returns>
    public async Task<int> RunAsync(string? key, CancellationToken stop)
    {
        var random = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(20));
        ObjectKey? known = key is null ? null : Parsed(key);
        if (!await report.StepAsync("list", ListAsync, stop) && report.IsUnreachable)
        {
            report.Skip("the store cannot be reached", "read", "ranges", "absent", "masters", "create", "range latency");
            return report.End();
        }

        if (known is { } at)
        {
            long length = 0;
            await report.StepAsync("read", ReadAsync, stop);
            if (length > 0)
            {
                await report.StepAsync("ranges", RangesAsync, stop);
                await report.LatencyAsync("range latency", i => FetchAsync(at, new(Math.Max(0, length - RangeBytes) * i / 21, RangeBytes)), stop);
            }
            else
            {
                report.Skip("there is nothing to read", "ranges", "range latency");
            }

            async Task<string?> ReadAsync()
            {
                await using var read = await store.OpenReadAsync(at, null, stop)
                    ?? throw new CheckException($"'{at}' is not there", "give --key with an object that exists");
                using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
                var buffer = new byte[RangeBytes];
                for (int count; (count = await read.Content.ReadAsync(buffer, stop)) > 0;)
                    hash.AppendData(buffer, 0, count);
                length = read.Length;
                var sha256 = Convert.ToHexStringLower(hash.GetHashAndReset());
                var name = at.Value[AudioPrefix.Length..].Split('.')[0];
                return !IsFileId(name) ? $"{length} bytes of '{at}'"
                    : sha256.StartsWith(name, StringComparison.Ordinal) ? $"{length} bytes of '{at}', of the digest in its name"
                    : throw new CheckException($"the bytes of '{at}' are not of the digest in its name", "something has changed them: compare with another store (delivery store reconcile)");
            }

            async Task<string?> RangesAsync()
            {
                var head = await FetchAsync(at, new(0, RangeBytes));
                var tail = await FetchAsync(at, new(length - 1, 100));
                return head == Math.Min(RangeBytes, length) && tail == 1
                    ? "from the start, and across the end"
                    : throw new CheckException("a range gives another number of bytes than it should", "this server does not do ranges: no listener can be served from it");
            }
        }
        else
        {
            report.Skip("no object is known: give --key audio/…", "read", "ranges", "range latency");
        }

        await report.StepAsync("absent", AbsentAsync, stop);
        await report.StepAsync("masters", MastersAsync, stop);
        await report.StepAsync("create", CreateAsync, stop);
        return report.End();

        static bool IsFileId(string name) => name.Length == 40 && name.All(char.IsAsciiHexDigitLower);

        async Task<string?> ListAsync()
        {
            try
            {
                await foreach (var entry in store.ListAsync(AudioPrefix, null, stop))
                {
                    known ??= entry.Key;
                    break;
                }
            }
            catch (StoreException e) when (e.Error == StoreError.Denied)
            {
                return "refused: an edge needs it not";
            }

            return "allowed: names can be seen, which S3 and Google want before they say 'absent' for what is not there";
        }

        async Task<int> FetchAsync(ObjectKey from, ObjectRange range)
        {
            await using var read = await store.OpenReadAsync(from, range, stop);
            using var received = new MemoryStream();
            if (read is not null)
                await read.Content.CopyToAsync(received, stop);
            return (int)received.Length;
        }

        async Task<string?> AbsentAsync()
        {
            try
            {
                return await store.FindAsync(ObjectKey.Parse($"{AudioPrefix}{random}.ogg"), stop) is null
                    ? "told as absent"
                    : throw new CheckException("an object of a random name is there", "this server cannot be relied on");
            }
            catch (StoreException e) when (e.Error == StoreError.Denied)
            {
                throw new CheckException(
                    "an absent object is told as a refusal: its listeners get 502 instead of 404, and several of them in a row open the edge's circuit breaker",
                    "allow listing (s3:ListBucket, storage.objects.list)", isWarning: true);
            }
        }

        async Task<string?> MastersAsync()
        {
            try
            {
                await store.FindAsync(ObjectKey.Parse($"masters/delivery-check/{random}.wav"), stop);
            }
            catch (StoreException e) when (e.Error == StoreError.Denied)
            {
                return "refused, as they should be";
            }

            throw new CheckException("masters may be read too", "an edge needs audio/ alone: restrict its credentials to that", isWarning: true);
        }

        async Task<string?> CreateAsync()
        {
            var at = ObjectKey.Parse($"{StoreCheck.Prefix}{random}");
            try
            {
                await store.WriteAsync(at, new MemoryStream([1]), new() { ContentType = "text/plain", ExpectedLength = 1, Precondition = WritePrecondition.Absent }, stop);
            }
            catch (StoreException e) when (e.Error == StoreError.Denied)
            {
                return "refused, as it should be";
            }

            await store.DeleteAsync(at, CancellationToken.None);
            throw new CheckException("these credentials may write", "an edge must not: give it credentials that only read audio/");
        }
    }

    private static ObjectKey Parsed(string key) => ObjectKey.TryParse(key, out var parsed) && key.StartsWith(AudioPrefix, StringComparison.Ordinal)
        ? parsed
        : throw new CommandLine.CliException(CommandLine.ExitCode.Usage, string.Create(CultureInfo.InvariantCulture, $"--key: '{key}' is not a key below {AudioPrefix}"));
}
