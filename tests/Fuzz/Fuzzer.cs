using System.Text;

namespace Delivery.Fuzz;

/// <summary>An input that broke a target.</summary>
/// <param name="Input">The bytes.</param>
/// <param name="Failure">What was thrown.</param>
public sealed record Finding(byte[] Input, Exception Failure);

/// <summary>What a run reached.</summary>
/// <param name="Iterations">Inputs run.</param>
/// <param name="Outcomes">How often the target said what.</param>
/// <param name="Finding">The first input that broke it; null when none did.</param>
public sealed record FuzzReport(long Iterations, IReadOnlyDictionary<string, long> Outcomes, Finding? Finding);

/// <summary>Mutates a corpus, deterministically by its seed: bit flips, splices, cuts, repeats and words of the target's dictionary.</summary>
public sealed class Fuzzer(FuzzTarget target, IReadOnlyList<byte[]> corpus, int seed)
{
    /// <summary>Inputs are cut here: above every bound of the targets but that of a key ring file, which has a test of its own.</summary>
    public const int MaxInputBytes = 12_000;

    private const int MaxPool = 4096;

    private readonly Random _random = new(seed);
    private readonly List<byte[]> _pool = corpus.Count > 0 ? [.. corpus] : [[]];
    private readonly SortedDictionary<string, long> _outcomes = new(StringComparer.Ordinal);

    /// <summary>The corpus's files, in the order of their names.</summary>
    public static IReadOnlyList<byte[]> Load(string folder) =>
        [.. Directory.Exists(folder) ? Directory.GetFiles(folder).Order(StringComparer.Ordinal).Select(File.ReadAllBytes) : []];

    /// <summary>Runs the corpus as it is, then mutations while asked to go on, until something breaks.</summary>
    public FuzzReport Run(Func<long, bool> goOn)
    {
        var iterations = 0L;
        foreach (var input in _pool.ToArray())
        {
            iterations++;
            if (Try(input) is { } finding)
                return new FuzzReport(iterations, _outcomes, finding);
        }

        while (goOn(iterations))
        {
            iterations++;
            var input = Mutate();
            if (Try(input) is { } finding)
                return new FuzzReport(iterations, _outcomes, finding);
        }

        return new FuzzReport(iterations, _outcomes, null);
    }

    private Finding? Try(byte[] input)
    {
        try
        {
            var outcome = target.Run(input);
            var seen = _outcomes.GetValueOrDefault(outcome);
            _outcomes[outcome] = seen + 1;
            // Rare outcomes are worth more mutations.
            if (seen < 64 && _pool.Count < MaxPool)
                _pool.Add(input);
            return null;
        }
        catch (Exception e)
        {
            return new Finding(input, e);
        }
    }

    private byte[] Mutate()
    {
        var bytes = new List<byte>(Pick());
        for (var i = 1 << _random.Next(4); i > 0; i--)
        {
            var at = _random.Next(bytes.Count + 1);
            var length = Math.Min(bytes.Count - at, 1 + _random.Next(16));
            switch (_random.Next(8))
            {
                case 0 when at < bytes.Count:
                    bytes[at] ^= (byte)(1 << _random.Next(8));
                    break;
                case 1 when at < bytes.Count:
                    bytes[at] = (byte)_random.Next(256);
                    break;
                case 2:
                    bytes.RemoveRange(at, length);
                    break;
                case 3:
                    bytes.InsertRange(at, bytes.GetRange(at, length));
                    break;
                case 4:
                    var other = Pick();
                    var from = _random.Next(other.Length + 1);
                    bytes.RemoveRange(at, bytes.Count - at);
                    bytes.AddRange(other.AsSpan(from));
                    break;
                case 5 when _random.Next(64) == 0:
                    bytes.InsertRange(at, Enumerable.Repeat((byte)'a', _random.Next(10_000)));
                    break;
                default:
                    bytes.InsertRange(at, Encoding.UTF8.GetBytes(target.Dictionary[_random.Next(target.Dictionary.Count)]));
                    break;
            }
        }

        if (bytes.Count > MaxInputBytes)
            bytes.RemoveRange(MaxInputBytes, bytes.Count - MaxInputBytes);
        return [.. bytes];
    }

    private byte[] Pick() => _pool[_random.Next(_pool.Count)];
}
