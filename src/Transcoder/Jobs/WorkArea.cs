using Delivery.Transcoder.Cage;

namespace Delivery.Transcoder.Jobs;

/// <summary>
/// A worker's own folder below the work folder, held by a lock that the kernel drops when the process dies. So several workers may share
/// the work folder, and each removes at start what dead ones left.
/// </summary>
internal sealed class WorkArea : IDisposable
{
    private const string NodePrefix = "worker-";
    private const string LockFile = "lock";
    private readonly FileStream _lock;

    private WorkArea(string folder, FileStream held) => (Folder, _lock) = (folder, held);

    public string Folder { get; }

    /// <param name="workFolder">Created, for its owner alone, when it is not there.</param>
    /// <param name="removed">How many dead workers' folders were removed.</param>
    /// <exception cref="IOException">The folder cannot be used; nothing can be transcoded without it.</exception>
    /// <exception cref="UnauthorizedAccessException">As above.</exception>
    public static WorkArea Open(string workFolder, out int removed)
    {
        workFolder = Path.GetFullPath(workFolder); // The tools run in folders of their own.
        CreateFolder(workFolder);
        removed = 0;
        foreach (var folder in Directory.EnumerateDirectories(workFolder, NodePrefix + "*"))
        {
            if (TryLock(folder) is not { } dead)
                continue;
            using (dead)
            {
                Orphans.Kill(folder);
                Directory.Delete(folder, recursive: true);
            }

            removed++;
        }

        var own = Path.Combine(workFolder, NodePrefix + Guid.NewGuid().ToString("N"));
        CreateFolder(own);
        return new WorkArea(own, TryLock(own) ?? throw new IOException($"{own} cannot be locked."));
    }

    /// <summary>A fresh folder for one attempt at one job; its name comes from nothing that a user chose.</summary>
    public JobFolder CreateJobFolder()
    {
        var folder = Path.Combine(Folder, Guid.NewGuid().ToString("N"));
        CreateFolder(folder);
        return new JobFolder(folder);
    }

    public void Dispose()
    {
        Directory.Delete(Folder, recursive: true);
        _lock.Dispose();
    }

    private static void CreateFolder(string folder)
    {
        if (OperatingSystem.IsWindows())
            throw new PlatformNotSupportedException("The transcoder's cage needs Linux.");
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private static FileStream? TryLock(string folder)
    {
        try
        {
            return new FileStream(Path.Combine(folder, LockFile), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null; // Its worker lives, or another worker is removing it.
        }
    }
}

/// <summary>Holds everything of one attempt; gone when disposed.</summary>
internal sealed class JobFolder(string path) : IDisposable
{
    public string Path { get; } = path;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
