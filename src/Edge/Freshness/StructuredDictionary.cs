using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Globalization;
using System.Text;
using Microsoft.Extensions.Primitives;

namespace Delivery.Edge.Freshness;

/// <summary>
/// RFC 9651 §4.2.2: a dictionary, as targeted fields are written. A member is a <see cref="long"/> (Integer), a <see cref="bool"/>, a <see cref="string"/> (String), or
/// <see cref="OtherType"/>; parameters are read and dropped, as RFC 9213 §2.1 ignores them.
/// </summary>
internal ref struct StructuredDictionary
{
    /// <summary>A member of a type that no cache directive has: Decimal, Token, Byte Sequence, Date, inner list.</summary>
    public static readonly object OtherType = new();

    private static readonly SearchValues<char> KeyChars = SearchValues.Create("abcdefghijklmnopqrstuvwxyz0123456789_-.*");
    private static readonly SearchValues<char> TokenChars = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-.^_`|~:/");
    private static readonly SearchValues<char> Base64Chars = SearchValues.Create("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=");

    private ReadOnlySpan<char> _rest;

    /// <summary>False when any part of the field breaks the grammar: then none of it counts.</summary>
    public static bool TryParse(StringValues field, [NotNullWhen(true)] out Dictionary<string, object>? members)
    {
        // §4.2: lines are joined by commas.
        var parser = new StructuredDictionary { _rest = string.Join(',', field.ToArray()).AsSpan().Trim(' ') };
        members = new(StringComparer.Ordinal);
        if (parser.TryReadMembers(members))
            return true;
        members = null;
        return false;
    }

    private bool TryReadMembers(Dictionary<string, object> members)
    {
        while (!_rest.IsEmpty)
        {
            if (!TryReadKey(out var key))
                return false;
            object value = true;
            if (Skip('='))
            {
                if (!(_rest.StartsWith('(') ? TryReadInnerList(out value) : TryReadItem(out value)))
                    return false;
            }

            if (!TrySkipParameters())
                return false;
            // The last of a name counts (§3.2).
            members[key] = value;
            _rest = _rest.TrimStart(" \t");
            if (_rest.IsEmpty)
                return true;
            if (!Skip(','))
                return false;
            _rest = _rest.TrimStart(" \t");
            // A comma at the end.
            if (_rest.IsEmpty)
                return false;
        }

        return true;
    }

    private bool Skip(char c)
    {
        if (!_rest.StartsWith(c))
            return false;
        _rest = _rest[1..];
        return true;
    }

    private ReadOnlySpan<char> Take(SearchValues<char> chars)
    {
        var end = _rest.IndexOfAnyExcept(chars);
        var taken = end < 0 ? _rest : _rest[..end];
        _rest = _rest[taken.Length..];
        return taken;
    }

    private bool TryReadKey(out string key)
    {
        key = "";
        if (_rest.IsEmpty || !(char.IsAsciiLetterLower(_rest[0]) || _rest[0] == '*'))
            return false;
        key = Take(KeyChars).ToString();
        return true;
    }

    private bool TrySkipParameters()
    {
        while (Skip(';'))
        {
            _rest = _rest.TrimStart(' ');
            if (!TryReadKey(out _) || (Skip('=') && !TryReadItem(out _)))
                return false;
        }

        return true;
    }

    private bool TryReadInnerList(out object value)
    {
        value = OtherType;
        _rest = _rest[1..];
        while (true)
        {
            _rest = _rest.TrimStart(' ');
            if (Skip(')'))
                return true;
            if (!TryReadItem(out _) || !TrySkipParameters() || !(_rest.StartsWith(' ') || _rest.StartsWith(')')))
                return false;
        }
    }

    private bool TryReadItem(out object value)
    {
        value = OtherType;
        if (_rest.IsEmpty)
            return false;
        switch (_rest[0])
        {
            case '"':
                return TryReadString(out value);
            case '?':
                value = _rest.StartsWith("?1");
                var isBoolean = _rest.Length > 1 && _rest[1] is '0' or '1';
                _rest = isBoolean ? _rest[2..] : _rest;
                return isBoolean;
            case ':':
                _rest = _rest[1..];
                Take(Base64Chars);
                return Skip(':');
            case '@':
                _rest = _rest[1..];
                var isDate = TryReadNumber(out var date) && date is long;
                return isDate;
            case '*' or (>= 'A' and <= 'Z') or (>= 'a' and <= 'z'):
                Take(TokenChars);
                return true;
            default:
                return TryReadNumber(out value);
        }
    }

    private bool TryReadString(out object value)
    {
        value = OtherType;
        var text = new StringBuilder();
        for (var i = 1; i < _rest.Length; i++)
        {
            var c = _rest[i];
            if (c == '"')
            {
                _rest = _rest[(i + 1)..];
                value = text.ToString();
                return true;
            }

            if (c == '\\' && (++i >= _rest.Length || (c = _rest[i]) is not ('"' or '\\')))
                return false;
            if (c is < ' ' or > '~')
                return false;
            text.Append(c);
        }

        return false;
    }

    // §4.2.4: an integer has up to 15 digits; a decimal up to 12 before its point and 1 to 3 after it.
    private bool TryReadNumber(out object value)
    {
        value = OtherType;
        var sign = Skip('-') ? -1 : 1;
        var digits = TakeDigits();
        if (digits.IsEmpty)
            return false;
        if (Skip('.'))
            return digits.Length <= 12 && TakeDigits() is { Length: >= 1 and <= 3 };
        if (digits.Length > 15)
            return false;
        value = sign * long.Parse(digits, NumberStyles.None, CultureInfo.InvariantCulture);
        return true;
    }

    private ReadOnlySpan<char> TakeDigits()
    {
        var end = _rest.IndexOfAnyExceptInRange('0', '9');
        var digits = end < 0 ? _rest : _rest[..end];
        _rest = _rest[digits.Length..];
        return digits;
    }
}
