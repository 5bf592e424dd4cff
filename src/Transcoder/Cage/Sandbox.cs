using System.Globalization;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Cage;

/// <summary>
/// bubblewrap's part of a command line. Of the machine's files a tool sees programs, shared libraries and its job's folder, so that a hole in a
/// decoder finds no store, no key, no other job, no <c>/proc</c>, no <c>/dev</c>; it finds no process, no network and no capability either,
/// and the <see cref="SystemCallFilter"/> keeps it from the kernel's rest.
/// </summary>
internal sealed class Sandbox
{
    private const string Programs = "/usr";

    // Links into /usr where the system has merged them (Debian, since 12), folders of their own elsewhere.
    private static readonly string[] Roots = ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

    // Debian finds libraries of several makers (libblas) through alternatives.
    private static readonly string[] Loader = ["/etc/ld.so.cache", "/etc/alternatives"];

    private readonly List<string> _prefix;

    public Sandbox(ToolSet tools)
    {
        _prefix =
        [
            tools.Bwrap!,
            // A user namespace inside would give a hole its capabilities back, and the kernel's interfaces with them.
            "--unshare-all", "--unshare-user", "--disable-userns", "--cap-drop", "ALL",
            "--die-with-parent", "--new-session",
            "--ro-bind", Programs, Programs,
        ];
        foreach (var root in Roots.Where(Directory.Exists))
            _prefix.AddRange(new DirectoryInfo(root).LinkTarget is { } target ? ["--symlink", target, root] : ["--ro-bind", root, root]);
        foreach (var path in Loader)
            _prefix.AddRange(["--ro-bind-try", path, path]);
        foreach (var folder in OwnFolders(tools))
            _prefix.AddRange(["--ro-bind-try", folder, folder]);
    }

    /// <summary>Everything before the first program inside. The job's folder has the path that it has outside; a run that may write nothing only reads it.</summary>
    public IEnumerable<string> Prefix(ToolRun run, int? filter)
    {
        var folder = run.MaxFileBytes == 0 ? "--ro-bind" : "--bind";
        IEnumerable<string> input = run.Input is { } name && Path.Combine(run.Folder, name) is var path ? ["--ro-bind", path, path] : [];
        IEnumerable<string> calls = filter is { } file ? ["--seccomp", file.ToString(CultureInfo.InvariantCulture)] : [];
        return [.. _prefix, .. calls, folder, run.Folder, run.Folder, .. input, "--remount-ro", "/", "--chdir", run.Folder, "--"];
    }

    /// <summary>Where the operator keeps tools of their own, and where links there lead to.</summary>
    private static IEnumerable<string> OwnFolders(ToolSet tools) =>
        ((string[])[tools.Ffmpeg, tools.Ffprobe, tools.Flac, tools.Metaflac])
        .SelectMany(tool => (string[])[tool, File.ResolveLinkTarget(tool, returnFinalTarget: true)?.FullName ?? tool])
        .Select(tool => Path.GetDirectoryName(tool)!)
        .Where(folder => !folder.StartsWith(Programs + "/", StringComparison.Ordinal) && !Roots.Contains(folder))
        .Distinct();
}
