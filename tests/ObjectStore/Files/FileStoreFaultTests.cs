using System.Diagnostics;

namespace Delivery.ObjectStore.Files;

/// <summary>Real faults: a small disk that is full, a disk that turned read-only, other processes, and kill -9.</summary>
public sealed class FileStoreFaultTests : IDisposable
{
    private static readonly ObjectKey Big = ObjectKey.Parse("masters/t/big.wav");

    private readonly TempFolder _folder = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _folder.Dispose();

    [Fact]
    public async Task FullDisk_IsFull_LeavesNothing_AndTheStoreWorksOn()
    {
        await using var disk = await SmallDisk.MountAsync(_folder["disk"]);
        var store = FileStore.Open(_folder["disk"]);
        var kept = await store.PutAsync(ObjectKey.Parse("audio/kept.ogg"), TestContent.Bytes(200_000, 1));
        var earlier = await store.PutAsync(Big, TestContent.Bytes(1000, 2));
        for (var i = 0; i < 3; i++)
        {
            var full = await TestContent.FailsAsync(StoreError.Full, async () => await store.PutAsync(Big, TestContent.Bytes(5_000_000, 3)));
            Assert.Equal((StoreFault.Operator, false), (full.Fault, full.CanRetry));
            Assert.Empty(Directory.GetFiles(_folder["disk/.store/tmp"]));
        }

        Assert.Equal(earlier, await store.FindAsync(Big, Token));
        Assert.Equal(TestContent.Bytes(200_000, 1), (await store.GetAsync(kept.Key))!.Value.Bytes);
        await store.PutAsync(Big, TestContent.Bytes(500_000, 4));
        Assert.Equal(TestContent.Bytes(500_000, 4), (await store.GetAsync(Big))!.Value.Bytes);
    }

    [Fact]
    public async Task ReadOnlyDisk_DeniesWrites_StillReads_AndCannotBeOpenedAnew()
    {
        await using var disk = await SmallDisk.MountAsync(_folder["disk"]);
        var store = FileStore.Open(_folder["disk"]);
        var written = await store.PutAsync(Big, TestContent.Bytes(1000, 2));
        await FileStoreTests.RunAsync("mount", "-o", "remount,ro", _folder["disk"]);
        Assert.Equal(StoreFault.Operator, (await TestContent.FailsAsync(StoreError.Denied, async () => await store.PutAsync(Big, [1]))).Fault);
        await TestContent.FailsAsync(StoreError.Denied, async () => await store.DeleteAsync(Big, Token));
        Assert.Equal(written, (await store.GetAsync(Big))!.Value.Info);
        var refused = Assert.Throws<StoreException>(() => FileStore.Open(_folder["disk"]));
        Assert.Equal(StoreError.Misconfigured, refused.Error);
        Assert.Contains(_folder["disk"], refused.Message);
    }

    [Fact]
    public async Task Creators_InFourProcesses_WinEachKeyOnce()
    {
        const int Keys = 60;
        var store = FileStore.Open(_folder.Path);
        var children = Enumerable.Range(0, 4).Select(_ => Start(Program.Race, Keys)).ToList();
        try
        {
            foreach (var child in children)
                Assert.Equal("ready", await child.StandardOutput.ReadLineAsync(Token));
            foreach (var child in children)
                child.StandardInput.WriteLine();
            var won = new List<(int Key, int Process)>();
            foreach (var child in children)
            {
                won.AddRange((await child.StandardOutput.ReadToEndAsync(Token)).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => (int.Parse(line), child.Id)));
                await child.WaitForExitAsync(Token);
                Assert.Equal(0, child.ExitCode);
            }

            Assert.Equal(Enumerable.Range(0, Keys), won.Select(w => w.Key).Order());
            foreach (var (key, process) in won)
                Assert.Equal($"{process}", System.Text.Encoding.ASCII.GetString((await store.GetAsync(ObjectKey.Parse($"race/{key}")))!.Value.Bytes));
        }
        finally
        {
            foreach (var child in children)
            {
                child.Kill();
                child.Dispose();
            }
        }
    }

    [Fact]
    public async Task KilledWriter_LeavesWholeObjectsOnly_AndAllThatWereAcknowledged()
    {
        const int Kills = 10;
        var seed = Random.Shared.Next(1_000_000);
        TestContext.Current.TestOutputHelper!.WriteLine($"seed {seed}");
        var random = new Random(seed);
        var (acknowledged, leftovers) = (0, 0);
        for (var kill = 0; kill < Kills; kill++)
        {
            var childSeed = seed + kill;
            var acknowledgedHere = 0; // = the number that the child was about when it was killed
            var last = new Dictionary<int, int>(); // key → the last number that was acknowledged
            using (var child = Start(Program.WriteForever, childSeed))
            {
                Assert.Equal("ready", await child.StandardOutput.ReadLineAsync(Token));
                child.StandardInput.WriteLine();
                var wanted = random.Next(1, 60);
                for (var i = 0; i < wanted; i++)
                    Note(await child.StandardOutput.ReadLineAsync(Token));
                SpinFor(TimeSpan.FromMicroseconds(random.Next(6000))); // So that the kill falls anywhere within the next write.
                child.Kill(); // SIGKILL
                while (await child.StandardOutput.ReadLineAsync(Token) is { } line)
                    Note(line);
                await child.WaitForExitAsync(Token);

                void Note(string? line)
                {
                    // A line that the kill cut short has no newline, and may say another number: leave it out unless it continues the count.
                    if (int.TryParse(line, out var number) && number == acknowledgedHere)
                    {
                        last[number % 20] = number;
                        acknowledgedHere++;
                    }
                }
            }

            leftovers += Directory.GetFiles(_folder[".store/tmp"]).Length;
            var store = FileStore.Open(_folder.Path);
            Assert.Empty(Directory.GetFiles(_folder[".store/tmp"]));
            var found = 0;
            foreach (var entry in await store.EntriesAsync($"killed/{childSeed}/"))
            {
                var (info, bytes) = (await store.GetAsync(entry.Key))!.Value;
                var number = BitConverter.ToInt32(bytes);
                Assert.Equal(Program.KilledObject(number, BitConverter.ToInt32(bytes, 4)), bytes);
                Assert.Equal(TestContent.Sha256(bytes), info.Sha256);
                Assert.Equal("audio/ogg", info.ContentType);
                var slot = int.Parse(entry.Key.Value.Split('/')[^1]);
                Assert.Equal(slot, number % 20);
                Assert.True(!last.TryGetValue(slot, out var acknowledgedNumber) || number == acknowledgedNumber || number == acknowledgedHere,
                    $"seed {seed}, kill {kill}: '{entry.Key}' holds number {number}, acknowledged was {acknowledgedNumber}");
                found += last.ContainsKey(slot) ? 1 : 0;
            }

            Assert.Equal(last.Count, found);
            acknowledged += acknowledgedHere;
        }

        TestContext.Current.TestOutputHelper!.WriteLine($"{acknowledged} acknowledged, {leftovers} torn temporary files swept");
        Assert.True(acknowledged >= Kills);
    }

    private static void SpinFor(TimeSpan time)
    {
        for (var start = Stopwatch.GetTimestamp(); Stopwatch.GetElapsedTime(start) < time;)
            Thread.SpinWait(20);
    }

    private Process Start(string mode, int argument) => Process.Start(
        new ProcessStartInfo(Environment.ProcessPath!, [.. RunnerArguments, mode, _folder.Path, $"{argument}"]) { RedirectStandardInput = true, RedirectStandardOutput = true })!;

    /// <summary>Started as <c>dotnet X.dll</c> or as the executable <c>X</c>.</summary>
    private static string[] RunnerArguments =>
        Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet" ? [typeof(Program).Assembly.Location] : [];

    /// <summary>A tmpfs of 1 MiB: a disk that is really full. Mounting takes root, as in CI; elsewhere the test is skipped and says so.</summary>
    private sealed class SmallDisk(string path) : IAsyncDisposable
    {
        public static async Task<SmallDisk> MountAsync(string path)
        {
            Assert.SkipUnless(Environment.IsPrivilegedProcess, "Mounting a small disk takes root.");
            Directory.CreateDirectory(path);
            await FileStoreTests.RunAsync("mount", "-t", "tmpfs", "-o", "size=1m", "delivery-test", path);
            return new SmallDisk(path);
        }

        // Lazily: the store under test keeps its root open until it is collected.
        public async ValueTask DisposeAsync() => await FileStoreTests.RunAsync("umount", "-l", path);
    }
}
