using System.IO.Enumeration;
using Microsoft.Win32.SafeHandles;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// The objects below a folder in key order, one folder of each depth at a time. A folder's name stands as <c>name/</c>, because that is how
/// it compares in a whole key: <c>a-</c> before <c>a/b</c> before <c>a0</c>.
/// </summary>
internal sealed class FolderListing(string rootPath, SafeFileHandle root, string startAfter, int pageSize)
{
    /// <summary>
    /// Names kept in memory at a time and folder. A larger folder is read again for each further page, so memory stays bounded (about
    /// 20 MB) and a listing of a million names costs sixteen passes over the folder.
    /// </summary>
    public const int PageSize = 65_536;

    private static readonly EnumerationOptions Everything = new() { AttributesToSkip = 0, IgnoreInaccessible = false };

    /// <summary>An open folder on the way down. <c>Text</c> is what its keys start with: empty for the root, else ending with <c>/</c>.</summary>
    private readonly record struct Level(string Text, SafeFileHandle Folder, IEnumerator<string> Names);

    public IEnumerable<ObjectEntry> Below(string prefix)
    {
        // The folder part of the prefix leads straight to the folder that holds every match.
        var top = prefix[..(prefix.LastIndexOf('/') + 1)];
        if (top.Length > 0 && !ObjectKey.TryParse(top[..^1], out _))
            yield break;
        using var path = FolderPath.Open(root, top.Length == 0 ? [] : top[..^1].Split('/'));
        if (path is null)
            yield break;

        var down = new Stack<Level>();
        try
        {
            down.Push(new Level(top, path.Folder, Names(top, prefix[top.Length..])));
            while (down.TryPeek(out var level))
            {
                if (!level.Names.MoveNext())
                {
                    Leave(down.Pop(), path);
                    continue;
                }

                var name = level.Names.Current;
                var text = level.Text + name;
                if (FileStore.IsReserved(text))
                    continue;
                if (text.EndsWith('/'))
                {
                    if (Posix.OpenFolder(level.Folder, name[..^1]) is { } folder)
                        down.Push(new Level(text, folder, Names(text, "")));
                    else if (Posix.LastError is not (Posix.ENOENT or Posix.ENOTDIR or Posix.ELOOP))
                        throw Posix.Failure($"list the folder '{text}'");
                }
                else if (ObjectKey.TryParse(text, out var key) && Posix.Status(level.Folder, name) is { Kind: FileKind.File } status)
                {
                    yield return new ObjectEntry(key, status.Length, status.Version, status.Modified);
                }
            }
        }
        finally
        {
            foreach (var level in down)
                Leave(level, path);
        }
    }

    private static void Leave(Level level, FolderPath path)
    {
        level.Names.Dispose();
        if (level.Folder != path.Folder)
            level.Folder.Dispose();
    }

    /// <summary>Names of one folder that start with the prefix and can lead to keys after <c>startAfter</c>, in order; folders end with <c>/</c>.</summary>
    private IEnumerator<string> Names(string folder, string prefix)
    {
        var after = "";
        if (startAfter.StartsWith(folder, StringComparison.Ordinal))
        {
            // The folder that startAfter lies in comes first, whole: its own level leaves out what lies before.
            after = startAfter[folder.Length..];
            var cut = after.IndexOf('/') + 1;
            if (cut > 0)
            {
                after = after[..cut];
                if (after.StartsWith(prefix, StringComparison.Ordinal))
                    yield return after;
            }
        }
        else if (ObjectKey.CompareUtf8(folder, startAfter) < 0)
        {
            yield break;
        }

        for (var more = true; more;)
        {
            (var page, more) = Page(Path.Combine(rootPath, folder), prefix, after);
            foreach (var name in page)
                yield return after = name;
        }
    }

    /// <summary>The first names after <paramref name="after"/>: at least a page, or all that there are.</summary>
    private (List<string> Names, bool More) Page(string path, string prefix, string after)
    {
        var page = new List<string>();
        var last = (string?)null;
        try
        {
            foreach (var name in new FileSystemEnumerable<string>(
                path, static (ref FileSystemEntry entry) => entry.IsDirectory ? $"{entry.FileName}/" : entry.FileName.ToString(), Everything))
            {
                if (!name.StartsWith(prefix, StringComparison.Ordinal) || ObjectKey.CompareUtf8(name, after) <= 0
                    || (last is not null && ObjectKey.CompareUtf8(name, last) > 0))
                    continue;
                page.Add(name);
                if (page.Count < 2 * pageSize)
                    continue;
                page.Sort(ObjectKey.CompareUtf8);
                page.RemoveRange(pageSize, page.Count - pageSize);
                last = page[^1];
            }
        }
        catch (DirectoryNotFoundException)
        {
            // Removed meanwhile, with its last object: what was seen of it is still a right answer.
        }

        page.Sort(ObjectKey.CompareUtf8);
        return (page, last is not null);
    }
}
