using System.Net;
using FsCheck;
using FsCheck.Fluent;

namespace Delivery.TokenAuth.Tests;

public sealed class PropertyTests
{
    private const string PathCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-~!$'()*+,:@=&";
    private const string ValueCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-~!$'()*+,:@./?%;";

    private static readonly IPAddress Client = IPAddress.Parse("203.0.113.7");

    private static Gen<string> Text(string alphabet, int max) =>
        from length in Gen.Choose(1, max)
        from characters in Gen.ArrayOf(Gen.Elements(alphabet.ToCharArray()), length)
        select new string(characters);

    private static Gen<string?> Maybe(Gen<string> gen) => Gen.OneOf(Gen.Constant<string?>(null), gen.Select(text => (string?)text));

    private static readonly Gen<(string Path, UrlGrant Grant)> Grants =
        from segments in Gen.NonEmptyListOf(Text(PathCharacters, 12))
        from key in Gen.Elements<string?>(null, "", "k1")
        from session in Maybe(Text(ValueCharacters, 20))
        from track in Maybe(Text(ValueCharacters, 20))
        from next in Maybe(Text(ValueCharacters, 40))
        from country in Gen.Elements<string?>(null, "SE", "NO")
        from address in Gen.Elements<string?>(null, "203.0.113.7", "203.0.113.0/24", "0.0.0.0/0", "::ffff:203.0.113.0/120")
        from early in Gen.Elements<int?>(null, -1000, 0)
        from prefix in Gen.Choose(0, 3)
        let path = "/" + string.Join('/', segments)
        select (path, Rings.Grant with
        {
            KeyId = key,
            SessionId = session,
            TrackId = track,
            NextFile = next,
            Country = country,
            Address = address,
            NotBefore = early is { } seconds ? DateTimeOffset.FromUnixTimeSeconds(Rings.Now + seconds) : null,
            // '&' and '=' may stand in a path, and not in a claim.
            Prefix = prefix == 0 && path.AsSpan(0, Math.Max(1, path.Length / 2)).IndexOfAny('&', '=') < 0 ? path[..Math.Max(1, path.Length / 2)] : null,
        });

    private static void Holds<T>(Gen<T> gen, Func<T, bool> property) =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(500), Prop.ForAll(gen.ToArbitrary(), property));

    private static TokenVerdict Verify(string url) =>
        RequestTarget.TrySplit(url, out var path, out var query) ? NativeScheme.Instance.Verify(Rings.Two, path, query, Client, Rings.Now, out _) : TokenVerdict.Malformed;

    [Fact]
    public void WhatIsSigned_IsValid() => Holds(Grants, given => Verify(NativeScheme.Instance.Sign(Rings.Two, given.Path, given.Grant)) == TokenVerdict.Valid);

    [Fact]
    public void OneCharacterChanged_IsNeverValid()
    {
        var cases = from given in Grants from at in Gen.Choose(0, int.MaxValue) from other in Gen.Choose(33, 126) select (given, at, (char)other);
        Holds(cases, input =>
        {
            var ((path, grant), at, other) = input;
            // Under a prefix the rest of the path is free: that part is left alone here.
            var url = NativeScheme.Instance.Sign(Rings.Two, path, grant);
            var free = grant.Prefix is null ? 0 : path.Length;
            var position = free + at % (url.Length - free);
            return url[position] == other || Verify(url[..position] + other + url[(position + 1)..]) != TokenVerdict.Valid;
        });
    }

    [Fact]
    public void OneCharacterRemovedOrDoubled_IsNeverValid()
    {
        var cases = from given in Grants from at in Gen.Choose(0, int.MaxValue) select (given, at);
        Holds(cases, input =>
        {
            var ((path, grant), at) = input;
            var url = NativeScheme.Instance.Sign(Rings.Two, path, grant);
            var free = grant.Prefix is null ? 0 : path.Length;
            var position = free + at % (url.Length - free);
            var removed = Verify(url.Remove(position, 1)) != TokenVerdict.Valid;
            // A doubled '&' is an empty parameter, which nobody reads.
            var doubled = url[position] == '&' && position > path.Length || Verify(url.Insert(position, url[position].ToString())) != TokenVerdict.Valid;
            return removed && doubled;
        });
    }

    [Fact]
    public void OrderOfParameters_AndUnsignedOnes_DoNotMatter()
    {
        var cases = from given in Grants from seed in Gen.Choose(0, int.MaxValue) select (given, seed);
        Holds(cases, input =>
        {
            var url = NativeScheme.Instance.Sign(Rings.Two, input.given.Path, input.given.Grant);
            var mark = url.IndexOf('?', StringComparison.Ordinal);
            var parameters = url[(mark + 1)..].Split('&').Append("CMCD=bl%3D2100").Append("utm").Append("").ToArray();
            new Random(input.seed).Shuffle(parameters);
            return Verify($"{url[..mark]}?{string.Join('&', parameters)}") == TokenVerdict.Valid;
        });
    }

    [Fact]
    public void AnyStrings_NeverThrowAndAreNeverValid()
    {
        // FsCheck's strings may be null and may hold anything, lone surrogates too.
        var any = ArbMap.Default.GeneratorFor<string>();
        Holds(from path in any from query in any select (path, query), input =>
        {
            RequestTarget.TrySplit(input.path, out _, out _);
            var plain = NativeScheme.Instance.Verify(Rings.Two, input.path, input.query, null, Rings.Now, out _);
            var likely = NativeScheme.Instance.Verify(Rings.Two, "/" + input.path, $"{input.query}&expires=1900000000&sid={input.query}&sig={new string('A', 43)}", null, Rings.Now, out _);
            return plain != TokenVerdict.Valid && likely != TokenVerdict.Valid;
        });
    }

    [Fact]
    public void Networks_MeanWhatTheFrameworkSays()
    {
        var addresses = Gen.OneOf(
            Gen.ArrayOf(Gen.Elements<byte>(0, 1, 127, 128, 203, 255), 4),
            Gen.ArrayOf(Gen.Elements<byte>(0, 0, 0, 1, 0x20, 0xff), 16)).Select(bytes => new IPAddress(bytes));
        var cases = from network in addresses from bits in Gen.Choose(0, 128) from client in addresses select (network, bits, client);
        Holds(cases, input =>
        {
            var all = input.network.GetAddressBytes().Length * 8;
            var bits = input.bits % (all + 1);
            var url = NativeScheme.Instance.Sign(Rings.Two, "/a", Rings.Grant with { Address = $"{input.network}/{bits}" });
            var verdict = NativeScheme.Instance.Verify(Rings.Two, "/a", url.AsSpan(3), input.client, Rings.Now, out _);
            var expected = Masked(input.network, bits).Contains(input.client);
            return verdict == (expected ? TokenVerdict.Valid : TokenVerdict.WrongScope);
        });

        static IPNetwork Masked(IPAddress address, int bits)
        {
            var bytes = address.GetAddressBytes();
            for (var bit = bits; bit < bytes.Length * 8; bit++)
                bytes[bit / 8] &= (byte)~(0x80 >> (bit % 8));
            return new IPNetwork(new IPAddress(bytes), bits);
        }
    }
}
