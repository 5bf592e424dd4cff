namespace Delivery.ObjectStore;

public class Crc32CTests
{
    public static TheoryData<string, uint> Rfc3720Vectors => new()
    {
        // RFC 3720 B.4: 32 zeros, 32 ones, 0 to 31, 31 to 0, an iSCSI READ (10) command. The RFC lists the bytes as sent, least significant first.
        { new('0', 64), 0x8A9136AA },
        { new('F', 64), 0x62A8AB43 },
        { "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", 0x46DD794E },
        { "1F1E1D1C1B1A191817161514131211100F0E0D0C0B0A09080706050403020100", 0x113FDB5C },
        { "01C00000000000000000000000000000140000000000040000000014000000182800000000000000020000000000000" + "0", 0xD9963A56 },
    };

    [Theory]
    [MemberData(nameof(Rfc3720Vectors))]
    public void Rfc3720Vectors_GiveTheirCrc(string hex, uint expected)
    {
        Assert.Equal(expected, Crc32C.Of(Convert.FromHexString(hex)));
        Assert.Equal(expected, Crc32C.OfInSoftware(Convert.FromHexString(hex)));
    }

    [Fact]
    public void Nothing_IsZero() => Assert.Equal(0u, Crc32C.Of([]));

    [Fact]
    public void EveryLengthAndAlignment_InstructionAndTablesAgree()
    {
        var random = new Random(3720);
        var bytes = new byte[4200 + 8];
        random.NextBytes(bytes);
        for (var length = 0; length <= 4200; length++)
        {
            var span = bytes.AsSpan(length % 8, length);
            Assert.True(Crc32C.Of(span) == Crc32C.OfInSoftware(span), $"length {length}, alignment {length % 8}");
            span = bytes.AsSpan(random.Next(8), length);
            Assert.True(Crc32C.Of(span) == Crc32C.OfInSoftware(span), $"length {length}");
        }
    }

    [Fact]
    public void LongInputs_InstructionAndTablesAgree()
    {
        // Around each number of long lanes (3 × 5456 bytes), and what is left behind them.
        var random = new Random(5456);
        var bytes = new byte[(128 << 10) + 64];
        random.NextBytes(bytes);
        for (var lanes = 1; lanes <= 8; lanes++)
        {
            for (var more = -20; more <= 20; more++)
            {
                var span = bytes.AsSpan(random.Next(16), lanes * 3 * 5456 + more);
                Assert.True(Crc32C.Of(span) == Crc32C.OfInSoftware(span), $"length {span.Length}");
            }
        }

        Assert.Equal(Crc32C.OfInSoftware(bytes), Crc32C.Of(bytes));
    }
}
