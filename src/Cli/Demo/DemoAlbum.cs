using System.Runtime.ExceptionServices;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using Delivery.Cli.Demo.Score;
using Delivery.Cli.Demo.Synthesis;

namespace Delivery.Cli.Demo;

/// <summary>
/// The album that the demo serves: composed in <c>Score/</c>, played by <c>Synthesis/</c>, so that a newcomer hears music
/// within a minute and nobody's rights are touched.
/// </summary>
public static class DemoAlbum
{
    /// <summary>The release's id in <c>release.json</c>.</summary>
    public const string ReleaseId = "demo-album";

    /// <summary>The folder's description, as <c>delivery ingest</c> reads it; written last.</summary>
    public const string ReleaseFileName = "release.json";

    private const string Title = "Small Hours, Open Roads";
    private const string Artist = "The Delivery Ensemble";

    // Raise the number when the music or its sound changes: masters with an older one are then rendered again.
    private const string Software = "Delivery demo album 1";

    // A GTIN that starts with 2 is for use inside a company (GS1 General Specifications), so it can meet no real release.
    private const string Upc = "200000000011";

    internal static IReadOnlyList<Piece> Compose() => [PaperLanterns.Compose(), Tidewater.Compose(), TheLongWayHome.Compose()];

    /// <summary>
    /// Writes the masters (WAV) and <c>release.json</c> into the folder, which is made if it is absent. The same machine
    /// writes the same bytes every time. Each file appears whole or not at all; a master that is there already with the right
    /// header and length is kept.
    /// </summary>
    /// <param name="folder">Where to write; about 70 MB.</param>
    /// <param name="progress">Share of the rendering that is done, 0 to 1, reported from several threads; null reports nothing.</param>
    /// <param name="ct">Stops between blocks; finished files stay, the unfinished are removed.</param>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    public static void Write(string folder, IProgress<double>? progress = null, CancellationToken ct = default)
    {
        Directory.CreateDirectory(folder);
        var pieces = Compose();
        var work = new RenderProgress(pieces.Sum(piece => piece.FrameCount), progress);
        try
        {
            // The longest first, so that two cores finish together. Tracks share nothing: their bytes do not depend on the order.
            Parallel.ForEach(Enumerable.Range(0, pieces.Count).OrderByDescending(index => pieces[index].FrameCount),
                new ParallelOptions { CancellationToken = ct, MaxDegreeOfParallelism = Environment.ProcessorCount },
                index => WriteMaster(Path.Combine(folder, FileName(pieces[index], index)), pieces[index], work, ct));
        }
        catch (AggregateException failures)
        {
            // The caller asked for an album, not for threads: it gets the failure itself, with its own stack.
            ExceptionDispatchInfo.Throw(failures.InnerExceptions.FirstOrDefault(failure => failure is OperationCanceledException) ?? failures.InnerExceptions[0]);
        }
        ReplaceWhole(Path.Combine(folder, ReleaseFileName), output => output.Write(Encoding.UTF8.GetBytes(Release(pieces))));
    }

    internal static void WriteMaster(string path, Piece piece, RenderProgress work, CancellationToken ct)
    {
        var header = WavWriter.Header(piece, Artist, Software);
        var lengthBytes = header.Length + piece.FrameCount * WavWriter.Channels * piece.BitsPerSample / 8;
        if (IsWritten(path, header, lengthBytes))
        {
            work.Advance(piece.FrameCount);
            return;
        }
        ReplaceWhole(path, output =>
        {
            output.Write(header);
            var writer = new WavWriter(output, piece.BitsPerSample);
            var mixer = new Mixer(piece);
            while (mixer.Next(out var left, out var right) is > 0 and var frames)
            {
                ct.ThrowIfCancellationRequested();
                writer.Write(left, right);
                work.Advance(frames);
            }
        });
    }

    private static string FileName(Piece piece, int index) => $"{index + 1:D2} {piece.Title}.wav";

    /// <summary>Files appear by rename, so a right length and header mean a whole file of this edition of the album.</summary>
    private static bool IsWritten(string path, byte[] header, long lengthBytes)
    {
        if (!File.Exists(path))
            return false;
        using var file = File.OpenRead(path);
        var found = new byte[header.Length];
        return file.Length == lengthBytes && file.ReadAtLeast(found, found.Length, throwOnEndOfStream: false) == found.Length && found.AsSpan().SequenceEqual(header);
    }

    private static void ReplaceWhole(string path, Action<Stream> write)
    {
        // One name per process: two that render into one folder do not write into each other's file.
        var unfinished = $"{path}.{Environment.ProcessId}.part";
        try
        {
            using (var file = new FileStream(unfinished, FileMode.Create, FileAccess.Write, FileShare.None, 256 * 1024))
            {
                write(file);
                file.Flush(flushToDisk: true);
            }
            File.Move(unfinished, path, overwrite: true);
        }
        catch
        {
            File.Delete(unfinished);
            throw;
        }
    }

    private static string Release(IReadOnlyList<Piece> pieces) => new JsonObject
    {
        ["id"] = ReleaseId,
        ["title"] = Title,
        ["artists"] = new JsonArray(Artist),
        ["label"] = "Delivery",
        ["upc"] = Upc,
        ["tracks"] = new JsonArray([.. pieces.Select((piece, index) => new JsonObject
        {
            ["id"] = $"{ReleaseId}-{index + 1}",
            // QZ is a country code for ISRC allocation, ZZZ a registrant that is not assigned.
            ["isrc"] = $"QZZZZ26{index + 1:D5}",
            ["title"] = piece.Title,
            ["number"] = index + 1,
            ["file"] = FileName(piece, index),
        })]),
    }.ToJsonString(new JsonSerializerOptions { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }) + "\n";
}
