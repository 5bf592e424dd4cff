using System.Diagnostics;

namespace Delivery.Transcoder.Tests;

/// <summary>Waits for a condition, within a bound, and looks at the processes that a worker started.</summary>
internal static class Until
{
    public static async Task TrueAsync(Func<bool> condition, string what)
    {
        var started = Stopwatch.GetTimestamp();
        while (!condition())
        {
            if (Stopwatch.GetElapsedTime(started) > Farm.Patience)
                Assert.Fail($"{what} did not happen in time.");
            await Task.Delay(5);
        }
    }

    /// <summary>Ids of ffmpeg processes that work in a folder below this one and already write a rendition.</summary>
    public static List<int> EncodersIn(string folder) => [.. ProcessesIn(folder).Where(p => p.Name == "ffmpeg" && Directory.EnumerateFiles(p.Folder, "r0*.flac").Any()).Select(p => p.Id)];

    /// <summary>Processes whose current folder lies below this one.</summary>
    public static List<(int Id, string Name, string Folder)> ProcessesIn(string folder)
    {
        var found = new List<(int, string, string)>();
        foreach (var process in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(process), out var id))
                continue;
            try
            {
                if (new FileInfo(Path.Combine(process, "cwd")).LinkTarget is { } target && target.StartsWith(folder, StringComparison.Ordinal))
                    found.Add((id, File.ReadAllText(Path.Combine(process, "comm")).Trim(), target));
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // It ended meanwhile.
            }
        }

        return found;
    }

    public static void Signal(int processId, string signal)
    {
        using var kill = Process.Start("kill", [$"-{signal}", processId.ToString()]);
        kill.WaitForExit();
    }
}
