using System.IO.Enumeration;

namespace Delivery.ObjectStore.Files;

/// <summary>
/// The names of one folder in key order. A folder's name stands as <c>name/</c>, because that is how it compares in a whole key:
/// <c>a-</c> before <c>a/b</c> before <c>a0</c>.
/// </summary>
internal static class FolderListing
{
    /// <summary>
    /// Names kept in memory at a time. A larger folder is read again for each further page, so memory stays bounded (about 10 MB) and
    /// a listing of a million names costs sixteen passes.
    /// </summary>
    public const int PageSize = 65_536;

    /// <summary>Names that start with <paramref name="prefix"/> and come after <paramref name="after"/>; folders end with <c>/</c>.</summary>
    public static IEnumerable<string> Names(string path, string prefix, string after, int pageSize)
    {
        while (true)
        {
            var page = new List<string>();
            var last = (string?)null;
            var more = false;
            foreach (var name in Read(path))
            {
                if (!name.StartsWith(prefix, StringComparison.Ordinal) || ObjectKey.CompareUtf8(name, after) <= 0
                    || (last is not null && ObjectKey.CompareUtf8(name, last) > 0))
                    continue;
                page.Add(name);
                if (page.Count < 2 * pageSize)
                    continue;
                page.Sort(ObjectKey.CompareUtf8);
                page.RemoveRange(pageSize, page.Count - pageSize);
                (last, more) = (page[^1], true);
            }

            page.Sort(ObjectKey.CompareUtf8);
            foreach (var name in page)
                yield return name;
            if (!more)
                yield break;
            after = page[^1];
        }
    }

    private static FileSystemEnumerable<string> Read(string path) =>
        new(path, static (ref FileSystemEntry entry) => entry.IsDirectory ? $"{entry.FileName}/" : entry.FileName.ToString(), Everything);

    private static readonly EnumerationOptions Everything = new() { AttributesToSkip = 0, IgnoreInaccessible = false, ReturnSpecialDirectories = false };
}
