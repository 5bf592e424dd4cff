using System.Text.Json;
using Delivery.ObjectStore;
using Delivery.Transcoder.Waveforms;

namespace Delivery.Transcoder.Results;

/// <summary>
/// Puts a finished set into the object store: every rendition and the waveform first, the manifest that names them last and create-only. So a set is there
/// whole or not at all; renditions without a manifest (a worker died between) are named by their content, harmless, and found again by the
/// next attempt.
/// </summary>
internal sealed class ResultStore(IObjectStore store)
{
    /// <summary>A four-hour track with a dozen renditions has a manifest of about 2 MiB.</summary>
    public const int MaxManifestBytes = 32 * 1024 * 1024;

    /// <summary>Whether this work was done before: the manifest is there in this format, and so is every file that it names, at its length.</summary>
    public async Task<bool> IsPublishedAsync(ObjectKey manifestKey, CancellationToken cancellationToken)
    {
        if (await ReadAsync(manifestKey, cancellationToken) is not { } bytes)
            return false;
        RenditionSet? set;
        try
        {
            set = JsonSerializer.Deserialize(bytes, ResultJson.Default.RenditionSet);
        }
        catch (JsonException error)
        {
            throw new StoreException(StoreError.Corrupt, $"The manifest {manifestKey} cannot be read: {error.Message}", error);
        }

        if (set is not { Format: RenditionSet.CurrentFormat, Renditions.Count: > 0 })
            return false;
        foreach (var rendition in set.Renditions)
        {
            if ((await store.FindAsync(ObjectKey.Parse(rendition.Key), cancellationToken))?.Length != rendition.Bytes)
                return false;
        }

        return (await store.FindAsync(ResultKeys.Waveform(manifestKey), cancellationToken))?.Length == set.Waveform.Bytes;
    }

    /// <param name="set">What to publish.</param>
    /// <param name="files">Paths of the renditions, in the set's order.</param>
    /// <param name="waveform">The waveform's file.</param>
    /// <param name="manifestKey">Where the manifest goes.</param>
    /// <param name="onProgress">Called with the published part, 0 to 1.</param>
    /// <param name="cancellationToken">Ends it without a manifest.</param>
    public async Task PublishAsync(RenditionSet set, IReadOnlyList<string> files, byte[] waveform, ObjectKey manifestKey, Action<double> onProgress, CancellationToken cancellationToken)
    {
        for (var i = 0; i < files.Count; i++)
        {
            await UploadAsync(set.Renditions[i], files[i], cancellationToken);
            onProgress((i + 1.0) / (files.Count + 1));
        }

        await CreateAsync(ResultKeys.Waveform(manifestKey), waveform, Waveform.ContentType, cancellationToken);
        await CreateAsync(manifestKey, JsonSerializer.SerializeToUtf8Bytes(set, ResultJson.Default.RenditionSet), "application/json", cancellationToken);
        onProgress(1);
    }

    private async Task CreateAsync(ObjectKey key, byte[] bytes, string contentType, CancellationToken cancellationToken)
    {
        try
        {
            using var content = new MemoryStream(bytes, writable: false);
            await store.WriteAsync(key, content, new ObjectWrite { ContentType = contentType, Precondition = WritePrecondition.Absent, ExpectedLength = bytes.Length }, cancellationToken);
        }
        catch (StoreException error) when (error.Error == StoreError.PreconditionFailed)
        {
            // The same master under two tracks, or an attempt before this one: then it says the same.
            var there = await ReadAsync(key, cancellationToken);
            if (there is null || !there.AsSpan().SequenceEqual(bytes))
                throw new StoreException(StoreError.Corrupt, $"{key} is there with other content, though its name says that it was made by the same encoder from the same master.", error);
        }
    }

    private async Task UploadAsync(Rendition rendition, string file, CancellationToken cancellationToken)
    {
        var key = ObjectKey.Parse(rendition.Key);
        // Content-addressed: what is there under this key is this file. Looking first saves sending it.
        if ((await store.FindAsync(key, cancellationToken))?.Length == rendition.Bytes)
            return;
        await using var content = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.Read, 128 * 1024, FileOptions.Asynchronous | FileOptions.SequentialScan);
        try
        {
            await store.WriteAsync(
                key,
                content,
                new ObjectWrite { ContentType = rendition.ContentType, Precondition = WritePrecondition.Absent, ExpectedLength = rendition.Bytes, ExpectedSha256 = rendition.Sha256 },
                cancellationToken);
        }
        catch (StoreException error) when (error.Error == StoreError.PreconditionFailed)
        {
            if ((await store.FindAsync(key, cancellationToken))?.Length != rendition.Bytes)
                throw new StoreException(StoreError.Corrupt, $"{key} is there with another length than its content has.", error);
        }
    }

    private async Task<byte[]?> ReadAsync(ObjectKey key, CancellationToken cancellationToken)
    {
        await using var read = await store.OpenReadAsync(key, null, cancellationToken);
        if (read is null)
            return null;
        if (read.Length > MaxManifestBytes)
            throw new StoreException(StoreError.Corrupt, $"{key} has {read.Length} bytes; at most {MaxManifestBytes} can be.");
        var bytes = new byte[read.Length];
        await read.Content.ReadExactlyAsync(bytes, cancellationToken);
        return bytes;
    }
}
