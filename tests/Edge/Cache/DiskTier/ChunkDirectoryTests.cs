using Delivery.Edge.Cache;
using Delivery.Edge.Cache.DiskTier;
using Delivery.Edge.Tests.Cache.HotTier;

namespace Delivery.Edge.Tests.Cache.DiskTier;

[Collection(nameof(Alone))]
public sealed class ChunkDirectoryTests : IDisposable
{
    private readonly ChunkDirectory _directory = new(1024);

    public void Dispose()
    {
        Assert.Equal(0, _directory.SessionsInUse);
        _directory.Dispose();
    }

    [Fact]
    public void Entry_IsFoundMarkedAndTakenBack()
    {
        var key = TierWorld.Key(1);
        var place = new ChunkLocation(5, 40, 131_072);
        Assert.False(_directory.TryFind(key, out _));
        _directory.Append(key, place);

        Assert.True(_directory.TryFind(key, out var found));
        Assert.Equal((5L, 40u, 131_072, 0, false), (found.Segment, found.Offset, found.Length, found.Uses, found.IsDead));
        for (var use = 1; use <= 5; use++)
        {
            Assert.True(_directory.TryUse(key, out found));
            Assert.Equal(Math.Min(use, ChunkLocation.MaxUses), found.Uses);
        }

        _directory.RestartUses(key, place);
        Assert.True(_directory.TryFind(key, out found));
        Assert.Equal(1, found.Uses);
        Assert.False(_directory.Fail(key, place));
        Assert.True(_directory.Fail(key, place));

        Assert.False(_directory.Kill(key, new(5, 48, 131_072)));
        Assert.True(_directory.TryFind(key, out _));
        Assert.True(_directory.Kill(key, place));
        Assert.False(_directory.Kill(key, place));
        Assert.False(_directory.TryFind(key, out _));
        Assert.False(_directory.TryUse(key, out _));
        _directory.Append(key, new(6, 40, 131_072));
        Assert.True(_directory.TryFind(key, out found));
        Assert.Equal((6L, 0), (found.Segment, found.Uses));
    }

    [Fact]
    public void SecondAppendOfAKey_TakesANewPlaceInTheRing()
    {
        var key = TierWorld.Key(1);
        _directory.Append(key, new(1, 40, 10));
        var tail = _directory.TailAddress;
        _directory.Append(key, new(2, 40, 10));
        Assert.InRange(_directory.TailAddress - tail, ChunkDirectory.RecordBytes, _directory.PageBytes);
        // The first one leaves with its page; the second one stays.
        _directory.DropBefore(tail);
        Assert.True(_directory.TryFind(key, out var found));
        Assert.Equal(2, found.Segment);
    }

    [Fact]
    public void ManyLaps_TheLastEntriesAreThereAndTheFirstAreNot()
    {
        const int Laps = 30;
        var total = Laps * 1024 * 5;
        for (var i = 0; i < total; i++)
        {
            var begin = _directory.NextBegin;
            if (begin > _directory.BeginAddress)
                _directory.DropBefore(begin);
            _directory.Append(TierWorld.Key(i), new(i, 40, 100));
            // A read of what is gone must be "not found", never a read of the null device (it throws).
            if (i % 7 == 0)
                _directory.TryUse(TierWorld.Key(i / 2), out _);
            if (i < 1024)
                continue;
            Assert.True(_directory.TryFind(TierWorld.Key(i - 1023), out var found), $"entry {i - 1023} at {i}");
            Assert.Equal(i - 1023, found.Segment);
        }

        Assert.False(_directory.TryFind(TierWorld.Key(0), out _));
    }

    [Fact]
    public void MarksOfOldEntries_AreKeptWhereTheEntriesAre()
    {
        // The first entries lie in the part of the log that FASTER calls read-only by now.
        for (var i = 0; i < 1024; i++)
            _directory.Append(TierWorld.Key(i), new(i, 40, 100));
        for (var i = 0; i < 1024; i++)
            Assert.True(_directory.TryUse(TierWorld.Key(i), out _));
        for (var i = 0; i < 1024; i++)
        {
            Assert.True(_directory.TryFind(TierWorld.Key(i), out var found));
            Assert.Equal(1, found.Uses);
        }
    }

    [Fact]
    public void Look_AllocatesNothing()
    {
        var (key, absent) = (TierWorld.Key(1), TierWorld.Key(2));
        _directory.Append(key, new(1, 40, 10));
        for (var i = 0; i < 100; i++)
            _directory.TryUse(key, out _);
        Assert.Equal(0, Allocation.Of(() =>
        {
            for (var i = 0; i < 1000; i++)
            {
                if (!_directory.TryFind(key, out _) || !_directory.TryUse(key, out _) || _directory.TryFind(absent, out _))
                    Assert.Fail("The entry went away.");
            }
        }));
    }
}
