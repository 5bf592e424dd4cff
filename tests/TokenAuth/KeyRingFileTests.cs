using System.Diagnostics.Metrics;

namespace Delivery.TokenAuth.Tests;

public sealed class KeyRingFileTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("delivery-keyring-").FullName;
    private readonly ManualTime _time = new();

    private string FilePath => Path.Combine(_folder, "keys.json");

    public void Dispose() => Directory.Delete(_folder, true);

    [Fact]
    public void WrittenInPlace_AppliedAtTheNextPoll()
    {
        using var file = Open(KeyRing.Generate("a"));
        File.WriteAllText(FilePath, KeyRing.Generate("b").ToJson());
        Assert.Equal("a", file.Current.SigningKeyId);
        _time.Tick();
        Assert.Equal("b", file.Current.SigningKeyId);
        Assert.Equal((0, null), (file.ReloadFailures, file.LastError));
    }

    [Fact]
    public void RenamedIntoPlace_SameLengthAndTime_Applied()
    {
        using var file = Open(KeyRing.Generate("a"));
        var next = Path.Combine(_folder, "next");
        File.WriteAllText(next, KeyRing.Generate("b").ToJson());
        File.SetLastWriteTimeUtc(next, File.GetLastWriteTimeUtc(FilePath));
        File.Move(next, FilePath, true);
        _time.Tick();
        Assert.Equal("b", file.Current.SigningKeyId);
    }

    [Fact]
    public void HalfWritten_OldRingStays_WholeFileIsAppliedLater()
    {
        using var file = Open(KeyRing.Generate("a"));
        var old = file.Current;
        var next = KeyRing.Generate("b").ToJson();
        // Every prefix, as a writer may stop anywhere; the last character but the line break is the closing brace.
        for (var length = 0; length < next.TrimEnd().Length; length++)
        {
            File.WriteAllText(FilePath, next[..length]);
            _time.Tick();
            Assert.Same(old, file.Current);
            Assert.NotNull(file.LastError);
        }

        Assert.Equal(next.TrimEnd().Length, file.ReloadFailures);
        File.WriteAllText(FilePath, next);
        _time.Tick();
        Assert.Equal("b", file.Current.SigningKeyId);
        Assert.Null(file.LastError);
    }

    [Fact]
    public void BadOrMissingFile_CountsOnce_AndIsForgottenWhenTheOldFileReturns()
    {
        var ring = KeyRing.Generate("a");
        using var file = Open(ring);
        File.WriteAllText(FilePath, "{}");
        _time.Tick();
        _time.Tick();
        Assert.Equal(1, file.ReloadFailures);
        Assert.Contains("'keys' is missing", file.LastError);
        File.Delete(FilePath);
        _time.Tick();
        _time.Tick();
        Assert.Equal(2, file.ReloadFailures);
        Assert.Contains("cannot be read", file.LastError);
        File.WriteAllText(FilePath, ring.ToJson());
        _time.Tick();
        Assert.Equal((2, null), (file.ReloadFailures, file.LastError));
    }

    [Fact]
    public void FailuresAgeAndKeys_AreMetrics()
    {
        var seen = new Dictionary<string, double>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, l) =>
        {
            if (instrument.Meter.Name == KeyRingFile.MeterName)
                l.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, _, _) => { lock (seen) seen[instrument.Name] = value; });
        listener.SetMeasurementEventCallback<int>((instrument, value, _, _) => { lock (seen) seen[instrument.Name] = value; });
        listener.SetMeasurementEventCallback<double>((instrument, value, _, _) => { lock (seen) seen[instrument.Name] = value; });
        using var file = Open(Rings.Two);
        listener.Start();
        File.WriteAllText(FilePath, "{}");
        _time.Tick();
        listener.RecordObservableInstruments();
        Assert.Equal(1, seen["delivery.tokenauth.keyring.reload_failures"]);
        Assert.Equal(2, seen["delivery.tokenauth.keyring.keys"]);
        Assert.Equal(1, seen["delivery.tokenauth.keyring.age"]);
    }

    [Fact]
    public void UnusableAtStart_KeyRingExceptionNamesTheFile()
    {
        Assert.Contains(FilePath, Assert.Throws<KeyRingException>(() => new KeyRingFile(FilePath, _time)).Message);
        File.WriteAllText(FilePath, "{}");
        Assert.All(Assert.Throws<KeyRingException>(() => new KeyRingFile(FilePath, _time)).Problems, problem => Assert.StartsWith($"'{FilePath}': ", problem));
        Assert.Throws<KeyRingException>(() => new KeyRingFile(_folder, _time));
    }

    [Fact]
    public void ReloadsUnderLoad_EveryUrlOfALiveKeyStaysValid()
    {
        var first = KeyRing.Generate("a").WithNewKey("b");
        using var file = Open(first);
        var urls = new[] { "a", "b" }.Select(id => NativeScheme.Instance.Sign(first, "/x", Rings.Grant with { KeyId = id })).ToArray();
        var wrong = 0;
        var done = 0;
        var readers = Enumerable.Range(0, 8).Select(n => new Thread(() =>
        {
            while (Volatile.Read(ref done) == 0)
            {
                if (Rings.Verify(file.Current, urls[n % 2]) != TokenVerdict.Valid)
                    Interlocked.Increment(ref wrong);
            }
        })).ToArray();
        foreach (var reader in readers)
            reader.Start();
        for (var i = 0; i < 200; i++)
        {
            File.WriteAllText(FilePath, first.WithNewKey($"c{i}").ToJson());
            file.CheckNow();
        }

        Volatile.Write(ref done, 1);
        foreach (var reader in readers)
            reader.Join();
        Assert.Equal(0, wrong);
        Assert.Equal(0, file.ReloadFailures);
        Assert.Contains("c199", file.Current.KeyIds);
    }

    private KeyRingFile Open(KeyRing ring)
    {
        File.WriteAllText(FilePath, ring.ToJson());
        return new KeyRingFile(FilePath, _time);
    }

    // A clock of one timer, which ticks when told.
    private sealed class ManualTime : TimeProvider
    {
        private TimerCallback? _callback;
        private long _seconds;

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => _seconds;

        public void Tick()
        {
            _seconds++;
            _callback!(null);
        }

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Assert.Equal((KeyRingFile.PollInterval, KeyRingFile.PollInterval), (dueTime, period));
            _callback = callback;
            return new Registered();
        }

        private sealed class Registered : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
