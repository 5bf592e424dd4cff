using System.Text.Json;

namespace Delivery.Cli.OriginApi;

/// <summary>States, phases and failures as the API writes them, so that a person and a script see the same word.</summary>
internal static class ApiWord
{
    public static string Of<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.CamelCase.ConvertName(value.ToString());
}
