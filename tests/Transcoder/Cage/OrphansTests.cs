using System.Diagnostics;
using Delivery.Transcoder.Jobs;

namespace Delivery.Transcoder.Tests.Cage;

public sealed class OrphansTests
{
    [Fact]
    public async Task ToolsOfADeadWorker_EndWhenAnotherStarts_AndNothingElseDoes()
    {
        var root = Directory.CreateTempSubdirectory("transcoder-tests-").FullName;
        var job = Directory.CreateDirectory(Path.Combine(root, "worker-dead", "job")).FullName;
        // ffmpeg that makes sound for ever, as if its worker had died before the death signal was asked for.
        using var tool = Process.Start(new ProcessStartInfo("ffmpeg", ["-v", "quiet", "-nostdin", "-re", "-f", "lavfi", "-i", "sine", "-f", "null", "-"]) { WorkingDirectory = job })!;
        using var shell = Process.Start(new ProcessStartInfo("sleep", ["60"]) { WorkingDirectory = job })!;
        try
        {
            await Until.TrueAsync(() => Until.ProcessesIn(root).Select(p => p.Name).Order().SequenceEqual(["ffmpeg", "sleep"]), "The start");
            using (WorkArea.Open(root, out var removed))
            {
                Assert.Equal(1, removed);
                Assert.False(Directory.Exists(job));
                await Until.TrueAsync(() => tool.HasExited, "The end of the tool");
                Assert.False(shell.HasExited);
            }
        }
        finally
        {
            foreach (var process in (Process[])[tool, shell])
            {
                process.Kill();
                await process.WaitForExitAsync();
            }

            Directory.Delete(root, recursive: true);
        }
    }
}
