using System.ComponentModel;
using System.Diagnostics;

namespace Delivery.Transcoder.Cage;

/// <summary>
/// Tools that outlived their worker. PR_SET_PDEATHSIG is asked for by the started program, some milliseconds after it starts (prctl(2)): a worker that
/// is killed just then leaves a tool that nobody tells. It stays in its cage, and publishes nothing.
/// </summary>
internal static class Orphans
{
    private static readonly string[] Programs = ["bwrap", "unshare", "setpriv", "nice", "prlimit", "ffmpeg", "ffprobe", "flac", "metaflac"];

    /// <summary>Kills the cage's programs that work in a dead worker's folder; nothing else, be it an operator's shell.</summary>
    public static void Kill(string folder)
    {
        foreach (var entry in Directory.EnumerateDirectories("/proc"))
        {
            try
            {
                if (int.TryParse(Path.GetFileName(entry), out var id)
                    && new DirectoryInfo(Path.Combine(entry, "cwd")).LinkTarget is { } current && current.StartsWith(folder + "/", StringComparison.Ordinal)
                    && Programs.Contains(File.ReadAllText(Path.Combine(entry, "comm")).TrimEnd()))
                {
                    using var process = Process.GetProcessById(id);
                    process.Kill();
                    process.WaitForExit(TimeSpan.FromSeconds(1));
                }
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException or ArgumentException or InvalidOperationException or Win32Exception)
            {
                // It ended meanwhile, or is another user's.
            }
        }
    }
}
