using System.Diagnostics;
using Delivery.Transcoder.Tools;

namespace Delivery.Transcoder.Cage;

/// <summary>How the tools are kept from the network, beside ffmpeg's protocol whitelist. The name is also the metric label and the log word.</summary>
public enum NetworkIsolation
{
    /// <summary>The system allows no namespaces: only the protocol whitelist stands.</summary>
    None,

    /// <summary>An empty network namespace (needs root).</summary>
    NetworkNamespace,

    /// <summary>An empty network namespace inside a user namespace of its own.</summary>
    UserNamespace,
}

internal static class NetworkIsolationProbe
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    /// <summary>The strongest isolation that works here, found by trying.</summary>
    public static async Task<NetworkIsolation> ProbeAsync(ToolSet tools, CancellationToken cancellationToken)
    {
        if (await WorksAsync("-rn"))
            return NetworkIsolation.UserNamespace;
        return await WorksAsync("-n") ? NetworkIsolation.NetworkNamespace : NetworkIsolation.None;

        async Task<bool> WorksAsync(string flags)
        {
            // The same chain as a real run: a kernel may allow the namespace and refuse what comes inside it.
            using var process = Process.Start(new ProcessStartInfo(tools.Unshare, [flags, "--", tools.Setpriv, "--no-new-privs", "--", tools.Nice, "-n", "0", tools.Prlimit, "--core=0", "--", tools.Nice])
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                RedirectStandardInput = true,
            })!;
            process.StandardInput.Close();
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            limit.CancelAfter(Patience);
            try
            {
                // A word or two each: far less than a pipe holds, so nothing blocks.
                await process.WaitForExitAsync(limit.Token);
                return process.ExitCode == 0;
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                process.Kill(entireProcessTree: true);
                return false;
            }
        }
    }
}
