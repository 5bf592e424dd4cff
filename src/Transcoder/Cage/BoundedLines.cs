using System.Text;

namespace Delivery.Transcoder.Cage;

/// <summary>Reads text line by line in bounded memory: ffmpeg prints the tags of the master, and a tag may be 64 MiB long.</summary>
internal static class BoundedLines
{
    /// <summary>The rest of a longer line is dropped.</summary>
    public const int MaxLineChars = 2_000;

    /// <summary>Calls <paramref name="onLine"/> for every line, ended by LF, CR or the end.</summary>
    public static async Task ReadAsync(TextReader reader, Action<string> onLine)
    {
        var buffer = new char[4096];
        var line = new StringBuilder();
        int read;
        while ((read = await reader.ReadAsync(buffer)) > 0)
        {
            foreach (var c in buffer.AsSpan(0, read))
            {
                if (c is '\n' or '\r')
                    Flush();
                else if (line.Length < MaxLineChars)
                    line.Append(c);
            }
        }

        Flush();

        void Flush()
        {
            if (line.Length > 0)
                onLine(line.ToString());
            line.Clear();
        }
    }
}
