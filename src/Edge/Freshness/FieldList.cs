namespace Delivery.Edge.Freshness;

/// <summary>RFC 9110 §5.6.1: the elements of a comma-separated field. A comma in a quoted string is no separator, and empty elements count for nothing.</summary>
internal static class FieldList
{
    public static ElementEnumerator Elements(ReadOnlySpan<char> line) => new(line);

    public ref struct ElementEnumerator(ReadOnlySpan<char> line)
    {
        private ReadOnlySpan<char> _rest = line;

        public ReadOnlySpan<char> Current { get; private set; }

        public readonly ElementEnumerator GetEnumerator() => this;

        public bool MoveNext()
        {
            while (!_rest.IsEmpty)
            {
                var end = EndOfElement(_rest);
                Current = _rest[..end].Trim(" \t");
                _rest = end < _rest.Length ? _rest[(end + 1)..] : default;
                if (!Current.IsEmpty)
                    return true;
            }

            return false;
        }

        private static int EndOfElement(ReadOnlySpan<char> text)
        {
            var quoted = false;
            for (var i = 0; i < text.Length; i++)
            {
                if (text[i] == '"')
                    quoted = !quoted;
                else if (quoted && text[i] == '\\')
                    i++;
                else if (!quoted && text[i] == ',')
                    return i;
            }

            return text.Length;
        }
    }
}
