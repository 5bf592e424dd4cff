namespace Delivery.Transcoder.Tools;

/// <summary>Absolute paths of the programs that the worker runs.</summary>
/// <param name="Ffmpeg">Debian package <c>ffmpeg</c>.</param>
/// <param name="Ffprobe">Debian package <c>ffmpeg</c>.</param>
/// <param name="Flac">Debian package <c>flac</c>.</param>
/// <param name="Metaflac">Debian package <c>flac</c>.</param>
/// <param name="Prlimit">Debian package <c>util-linux</c>.</param>
/// <param name="Setpriv">Debian package <c>util-linux</c>.</param>
/// <param name="Unshare">Debian package <c>util-linux</c>.</param>
/// <param name="Nice">Debian package <c>coreutils</c>.</param>
/// <param name="Bwrap">Debian package <c>bubblewrap</c>; null when it is not installed: the tools are isolated less well then.</param>
public sealed record ToolSet(
    string Ffmpeg, string Ffprobe, string Flac, string Metaflac, string Prlimit, string Setpriv, string Unshare, string Nice, string? Bwrap)
{
    private static readonly (string Tool, string Package)[] AudioTools = [("ffmpeg", "ffmpeg"), ("ffprobe", "ffmpeg"), ("flac", "flac"), ("metaflac", "flac")];

    // Essential packages of Debian: the cage's own tools, looked for in the system's folders whatever ToolPath says.
    private static readonly (string Tool, string Package)[] SystemTools =
        [("prlimit", "util-linux"), ("setpriv", "util-linux"), ("unshare", "util-linux"), ("nice", "coreutils")];

    /// <summary>Finds every tool, or says which are missing and which packages to install.</summary>
    /// <param name="toolPath">Folders for the audio tools, separated as in PATH; null: PATH.</param>
    /// <exception cref="ToolsMissingException">Some are missing; all of them are named.</exception>
    public static ToolSet Find(string? toolPath = null)
    {
        var path = Environment.GetEnvironmentVariable("PATH") ?? "";
        var found = new Dictionary<string, string>();
        var missing = new List<(string Tool, string Package)>();
        Look(AudioTools, toolPath ?? path);
        var systemPath = $"/usr/bin:/bin:{path}";
        Look(SystemTools, systemPath);
        if (missing.Count > 0)
        {
            var tools = string.Join(", ", missing.Select(m => m.Tool));
            var packages = string.Join(' ', missing.Select(m => m.Package).Distinct());
            throw new ToolsMissingException(
                [.. missing.Select(m => m.Tool)],
                $"The transcoder cannot work without {tools}, which {(missing.Count == 1 ? "is" : "are")} not in {toolPath ?? "PATH"}. On Debian: apt-get install {packages}");
        }

        return new ToolSet(found["ffmpeg"], found["ffprobe"], found["flac"], found["metaflac"], found["prlimit"], found["setpriv"], found["unshare"], found["nice"], InFolders("bwrap", systemPath));

        void Look((string Tool, string Package)[] tools, string folders)
        {
            foreach (var (tool, package) in tools)
            {
                if (InFolders(tool, folders) is { } file)
                    found[tool] = file;
                else
                    missing.Add((tool, package));
            }
        }

        static string? InFolders(string tool, string folders) =>
            folders.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
                .Select(folder => Path.GetFullPath(Path.Combine(folder, tool)))
                .FirstOrDefault(IsExecutable);
    }

    private static bool IsExecutable(string file) =>
        !OperatingSystem.IsWindows() && File.Exists(file)
        && (File.GetUnixFileMode(file) & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)) != 0;
}
