using System.Text.Json;

namespace Delivery.HttpCache.Tests;

/// <summary>
/// What a result means, by the suite's own rules (<c>determineTestResult</c> in its lib/display.mjs): a test whose dependency did not pass says nothing, and neither does one that failed
/// in its set-up.
/// </summary>
internal static class SuiteVerdict
{
    public const string Pass = "pass";

    public static string Of(SuiteTest test, IReadOnlyDictionary<string, SuiteTest> tests, IReadOnlyDictionary<string, JsonElement> results)
    {
        if (!results.TryGetValue(test.Id, out var result))
            return "untested";
        if (test.DependsOn.Any(id => Of(tests[id], tests, results) is not (Pass or "yes")))
            return "dependency failed";
        var passed = result.ValueKind == JsonValueKind.True;
        if (!passed && result[0].GetString() == "Setup")
            return result[1].GetString() == "retry" ? "retry" : "setup failed";
        return test.Kind switch
        {
            "check" => passed ? "yes" : "no",
            _ => passed ? Pass : "fail",
        };
    }
}
