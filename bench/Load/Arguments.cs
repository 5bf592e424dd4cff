using System.Globalization;
using System.Net;

namespace Delivery.Bench.Load;

/// <summary><c>--name value</c> pairs. A name that nobody asked for is an error at the end.</summary>
internal sealed class Arguments
{
    private readonly Dictionary<string, string> _given = [];

    public Arguments(ReadOnlySpan<string> args)
    {
        if (args.Length % 2 != 0)
            throw new ArgumentException("every --name has one value");
        for (var i = 0; i < args.Length; i += 2)
        {
            if (!args[i].StartsWith("--", StringComparison.Ordinal))
                throw new ArgumentException($"'{args[i]}' is not a --name");
            _given[args[i][2..]] = args[i + 1];
        }
    }

    public string Text(string name, string? otherwise = null) =>
        _given.Remove(name, out var value) ? value : otherwise ?? throw new ArgumentException($"--{name} is missing");

    public long Number(string name, long? otherwise = null) =>
        long.Parse(Text(name, otherwise?.ToString(CultureInfo.InvariantCulture)), NumberStyles.None, CultureInfo.InvariantCulture);

    public int Count(string name, int? otherwise = null) => checked((int)Number(name, otherwise));

    public IPEndPoint Address(string name) => IPEndPoint.Parse(Text(name));

    /// <summary>Null when the name is not given, or empty.</summary>
    public string? Optional(string name) => _given.Remove(name, out var value) && value.Length > 0 ? value : null;

    public void End()
    {
        if (_given.Count > 0)
            throw new ArgumentException($"unknown: {string.Join(", ", _given.Keys.Select(name => $"--{name}"))}");
    }
}
