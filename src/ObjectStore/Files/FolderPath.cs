using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// The open folders from the root down to an object's own, opened one segment at a time and never through a symbolic link. What is done
/// with the open folders cannot be led elsewhere by renaming one of them.
/// </summary>
internal sealed class FolderPath : IDisposable
{
    private readonly SafeFileHandle _root;
    private readonly string[] _names;
    private readonly List<SafeFileHandle> _opened = [];

    private FolderPath(SafeFileHandle root, string[] names) => (_root, _names) = (root, names);

    /// <summary>The innermost folder.</summary>
    public SafeFileHandle Folder => _opened.Count == 0 ? _root : _opened[^1];

    /// <summary>Opens the folders; null when one of them does not exist or is no folder.</summary>
    public static FolderPath? Open(SafeFileHandle root, string[] names)
    {
        var path = new FolderPath(root, names);
        foreach (var name in names)
        {
            if (Posix.OpenFolder(path.Folder, name) is { } folder)
            {
                path._opened.Add(folder);
                continue;
            }

            using (path)
            {
                return Posix.LastError is Posix.ENOENT or Posix.ENOTDIR or Posix.ELOOP ? null : throw Posix.Failure($"open the folder '{name}'");
            }
        }

        return path;
    }

    /// <summary>Opens the folders and makes those that are missing; null when a delete removed one meanwhile (try again).</summary>
    /// <exception cref="StoreException"><see cref="StoreError.KeyRefused"/> when one of the names is no folder.</exception>
    public static FolderPath? OpenOrMake(SafeFileHandle root, string[] names)
    {
        var path = new FolderPath(root, names);
        try
        {
            foreach (var name in names)
            {
                var folder = Posix.OpenFolder(path.Folder, name);
                if (folder is null && Posix.LastError == Posix.ENOENT)
                {
                    if (!Posix.MakeFolder(path.Folder, name) && Posix.LastError is not (Posix.EEXIST or Posix.ENOENT))
                        throw Posix.Failure($"make the folder '{name}'");
                    folder = Posix.OpenFolder(path.Folder, name);
                }

                if (folder is null)
                {
                    if (Posix.LastError is Posix.ENOTDIR or Posix.ELOOP)
                        throw new StoreException(StoreError.KeyRefused, $"'{string.Join('/', names[..(path._opened.Count + 1)])}' is an object or a link, so no key can lie below it in a File store.");
                    if (Posix.LastError != Posix.ENOENT)
                        throw Posix.Failure($"open the folder '{name}'");
                    path.Dispose();
                    return null;
                }

                path._opened.Add(folder);
            }

            return path;
        }
        catch
        {
            path.Dispose();
            throw;
        }
    }

    /// <summary>
    /// Makes the names in every folder up to the root durable. All of them, each time: a folder that another writer made a moment ago
    /// may not be durable yet, and a sync with nothing to do costs little (docs/formats/file-store.md).
    /// </summary>
    public void Sync()
    {
        try
        {
            foreach (var folder in _opened)
                RandomAccess.FlushToDisk(folder);
            RandomAccess.FlushToDisk(_root);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Posix.Failure("sync a folder", e);
        }
    }

    /// <summary>Removes the innermost folders as far as they are empty. The kernel refuses the others, so a writer's new file is safe.</summary>
    public void RemoveEmptyFolders()
    {
        for (var i = _opened.Count - 1; i >= 0; i--)
        {
            if (!Posix.RemoveFolder(i == 0 ? _root : _opened[i - 1], _names[i]))
                return;
        }
    }

    public void Dispose()
    {
        foreach (var folder in _opened)
            folder.Dispose();
    }
}
