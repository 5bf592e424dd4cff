namespace Delivery.Cli.Demo.Synthesis;

/// <summary>White noise from a seeded xorshift generator (Marsaglia 2003): the same on every machine and .NET version.</summary>
internal struct Noise(uint seed)
{
    private uint _state = seed == 0 ? 0x9E3779B9 : seed;

    public uint NextBits()
    {
        _state ^= _state << 13;
        _state ^= _state >> 17;
        _state ^= _state << 5;
        return _state;
    }

    /// <summary>Uniform in -1 to 1.</summary>
    public float Next() => (int)NextBits() * (1f / 2147483648f);
}
