using System.Globalization;

namespace Delivery.Cli.Soak;

/// <summary>What the kernel says of a process, and what its cache folder holds.</summary>
/// <param name="RssBytes">Resident memory (<c>VmRSS</c>).</param>
/// <param name="Threads">Threads.</param>
/// <param name="Descriptors">Open file descriptors.</param>
/// <param name="UnlinkedFiles">Of those, files without a name: segments that are deleted but still open.</param>
/// <param name="CacheFiles">Files in the cache folder.</param>
/// <param name="CacheBytes">Sum of their lengths.</param>
internal readonly record struct ProcessFigures(long RssBytes, int Threads, int Descriptors, int UnlinkedFiles, int CacheFiles, long CacheBytes)
{
    /// <summary>Null when the process is gone.</summary>
    public static ProcessFigures? Read(int processId, string? cacheFolder)
    {
        try
        {
            long rss = 0;
            var threads = 0;
            foreach (var line in File.ReadLines($"/proc/{processId}/status"))
            {
                if (line.StartsWith("VmRSS:", StringComparison.Ordinal))
                    rss = Number(line) * 1024;
                else if (line.StartsWith("Threads:", StringComparison.Ordinal))
                    threads = (int)Number(line);
            }

            // A zombie has a status without memory.
            if (rss == 0)
                return null;
            var (descriptors, unlinked) = CountDescriptors(processId);
            var (files, bytes) = cacheFolder is null ? (0, 0) : Measure(cacheFolder);
            return new(rss, threads, descriptors, unlinked, files, bytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Processes whose working folder is this one or lies in it: what a child has started inherits it.</summary>
    public static IReadOnlyList<int> WorkingIn(string folder)
    {
        var found = new List<int>();
        foreach (var process in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out var id))
                continue;
            try
            {
                if (new DirectoryInfo($"{process}/cwd").LinkTarget is { } target && (target == folder || target.StartsWith(folder + "/", StringComparison.Ordinal)))
                    found.Add(id);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Ended meanwhile, or another user's: neither is a child of this run.
            }
        }

        return found;
    }

    private static (int Open, int Unlinked) CountDescriptors(int processId)
    {
        var (open, unlinked) = (0, 0);
        foreach (var descriptor in Directory.EnumerateFileSystemEntries($"/proc/{processId}/fd"))
        {
            open++;
            try
            {
                // The runtime's own doubly mapped code memory is a deleted file as well; it is there from the start.
                if (new FileInfo(descriptor).LinkTarget is { } target && target.EndsWith(" (deleted)", StringComparison.Ordinal) && !target.StartsWith("/memfd:", StringComparison.Ordinal))
                    unlinked++;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Closed meanwhile.
            }
        }

        return (open, unlinked);
    }

    private static (int Files, long Bytes) Measure(string folder)
    {
        var (files, bytes) = (0, 0L);
        if (!Directory.Exists(folder))
            return (files, bytes);
        foreach (var file in new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories))
        {
            try
            {
                bytes += file.Length;
                files++;
            }
            catch (IOException)
            {
                // Evicted meanwhile.
            }
        }

        return (files, bytes);
    }

    private static long Number(string line)
    {
        var digits = line.AsSpan(line.IndexOf(':') + 1).Trim();
        var end = digits.IndexOf(' ');
        return long.Parse(end < 0 ? digits : digits[..end], NumberStyles.None, CultureInfo.InvariantCulture);
    }
}
