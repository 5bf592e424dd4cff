using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace Delivery.ObjectStore;

/// <summary>
/// A valid object key: 1 to 1,024 bytes of UTF-8 (the bound of S3 and GCS) in segments divided by <c>/</c>, none of them empty, <c>.</c>
/// or <c>..</c>, and no control character, backslash or lone surrogate. A key that has this type cannot leave the root of a store.
/// </summary>
public readonly record struct ObjectKey
{
    /// <summary>S3 and GCS allow 1,024 bytes of UTF-8.</summary>
    public const int MaxUtf8Bytes = 1024;

    /// <summary>A segment becomes a file name in the File driver; common file systems allow 255 bytes.</summary>
    public const int MaxSegmentUtf8Bytes = 255;

    private readonly string? _value;

    private ObjectKey(string value) => _value = value;

    public string Value => _value ?? throw new InvalidOperationException("An ObjectKey is made by Parse or TryParse.");

    /// <exception cref="FormatException">The text is not a valid key; the message says why.</exception>
    public static ObjectKey Parse(string text) => Problem(text) is { } problem
        ? throw new FormatException($"'{text}' is not an object key: {problem}.")
        : new ObjectKey(text);

    public static bool TryParse([NotNullWhen(true)] string? text, out ObjectKey key)
    {
        var valid = text is not null && Problem(text) is null;
        key = valid ? new ObjectKey(text!) : default;
        return valid;
    }

    public override string ToString() => Value;

    /// <summary>
    /// Orders keys, prefixes and names as their UTF-8 bytes do, which is the order of every listing. It differs from the order of UTF-16
    /// units for characters beyond U+FFFF only: their surrogates lie below U+E000, their UTF-8 above U+FFFF's.
    /// </summary>
    public static int CompareUtf8(string left, string right)
    {
        var common = left.AsSpan().CommonPrefixLength(right);
        if (common == left.Length || common == right.Length)
            return left.Length.CompareTo(right.Length);
        var (l, r) = (left[common], right[common]);
        return char.IsSurrogate(l) == char.IsSurrogate(r) ? l.CompareTo(r)
            : char.IsSurrogate(l) ? (r >= 0xE000 ? 1 : l.CompareTo(r))
            : l >= 0xE000 ? -1 : l.CompareTo(r);
    }

    private static string? Problem(string text)
    {
        if (text.Length == 0)
            return "it is empty";
        foreach (var rune in text.AsSpan().EnumerateRunes())
        {
            // EnumerateRunes gives U+FFFD for a lone surrogate; the character itself is refused too, as it means a lossy decoding.
            if (rune == Rune.ReplacementChar)
                return "it holds a lone surrogate or U+FFFD";
            if (Rune.IsControl(rune))
                return "it holds a control character";
            if (rune.Value == '\\')
                return "it holds a backslash";
        }

        if (Encoding.UTF8.GetByteCount(text) > MaxUtf8Bytes)
            return $"it is longer than {MaxUtf8Bytes} bytes";
        foreach (var range in text.AsSpan().Split('/'))
        {
            var segment = text.AsSpan()[range];
            if (segment.Length == 0)
                return "it has an empty segment (a leading, trailing or double '/')";
            if (segment is "." or "..")
                return "it has a '.' or '..' segment";
            if (Encoding.UTF8.GetByteCount(segment) > MaxSegmentUtf8Bytes)
                return $"it has a segment longer than {MaxSegmentUtf8Bytes} bytes";
        }

        return null;
    }
}
