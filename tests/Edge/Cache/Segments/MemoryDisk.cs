using Delivery.Edge.Cache.Segments;

namespace Delivery.Edge.Tests.Cache.Segments;

/// <summary>
/// A disk that tells what is durable from what is merely written. <see cref="PowerCut"/> keeps what was synced and any part of the rest: 512-byte sectors in any
/// combination and in any of their versions since the last sync, lengths old or new, folder changes in any combination. <see cref="Kill"/> keeps all of it.
/// </summary>
internal sealed class MemoryDisk : ICacheDisk
{
    public const int SectorBytes = 512;

    // Versions of one sector between two syncs; more are not kept apart.
    private const int MaxVersions = 8;

    private readonly Lock _gate = new();
    private readonly List<Action<Dictionary<string, Inode>>> _unsynced = [];
    private Dictionary<string, Inode> _names = [];
    private Dictionary<string, Inode> _durable = [];

    /// <summary>Handles that were not closed: a test's check for leaks.</summary>
    public int OpenFiles => _openFiles;

    private int _openFiles;
    private volatile int _epoch;

    public IReadOnlyList<string> List()
    {
        lock (_gate)
            return [.. _names.Keys];
    }

    public ICacheFile Open(string name, bool write)
    {
        lock (_gate)
            return _names.TryGetValue(name, out var inode) ? new Handle(this, inode, write) : throw new FileNotFoundException($"No '{name}'.");
    }

    public ICacheFile Create(string name)
    {
        lock (_gate)
        {
            var inode = new Inode();
            if (!_names.TryAdd(name, inode))
                throw new IOException($"'{name}' exists.", 17);
            _unsynced.Add(names => names[name] = inode);
            return new Handle(this, inode, write: true);
        }
    }

    public void Delete(string name)
    {
        lock (_gate)
        {
            if (!_names.Remove(name, out var inode))
                return;
            _unsynced.Add(names =>
            {
                if (names.GetValueOrDefault(name) == inode)
                    names.Remove(name);
            });
        }
    }

    public void Rename(string from, string to)
    {
        lock (_gate)
        {
            if (!_names.Remove(from, out var inode))
                throw new FileNotFoundException($"No '{from}'.");
            _names[to] = inode;
            _unsynced.Add(names =>
            {
                if (names.GetValueOrDefault(from) == inode)
                    names.Remove(from);
                names[to] = inode;
            });
        }
    }

    public void SyncFolder()
    {
        lock (_gate)
        {
            _durable = new(_names);
            _unsynced.Clear();
        }
    }

    /// <summary>The machine stops and starts again. Handles from before are dead: every call on them is an <see cref="IOException"/>.</summary>
    public void PowerCut(int seed)
    {
        lock (_gate)
        {
            var random = new Random(seed);
            // Half of the time as a journaling file system does it, the changes up to some point; half of the time in any combination.
            var upTo = random.Next(2) == 0 ? random.Next(_unsynced.Count + 1) : -1;
            var names = new Dictionary<string, Inode>(_durable);
            for (var i = 0; i < _unsynced.Count; i++)
            {
                if (upTo < 0 ? random.Next(2) == 0 : i < upTo)
                    _unsynced[i](names);
            }

            // Before the files are looked at: a write under way is then either done or refused.
            _epoch++;
            _openFiles = 0;
            var after = new Dictionary<Inode, Inode>();
            _names = names.ToDictionary(n => n.Key, n => after.TryGetValue(n.Value, out var known) ? known : after[n.Value] = n.Value.AfterPowerCut(random));
            _durable = new(_names);
            _unsynced.Clear();
        }
    }

    /// <summary>The process stops (kill -9) and starts again: nothing written is lost, handles from before are dead.</summary>
    public void Kill()
    {
        lock (_gate)
        {
            _epoch++;
            _openFiles = 0;
            foreach (var inode in _names.Values)
                inode.Settle();
        }
    }

    /// <summary>One file's bytes, as they are read and as they are on the medium.</summary>
    private sealed class Inode
    {
        private readonly Lock _gate = new();
        private HashSet<long> _dirty = [];
        private readonly Dictionary<long, List<byte[]>> _earlier = [];
        private byte[] _bytes = [];
        private byte[] _medium = [];
        private long _length, _mediumLength;

        public long LengthFor(Handle handle)
        {
            using (Enter(handle))
                return _length;
        }

        public int Read(Handle handle, long offset, Span<byte> destination)
        {
            using (Enter(handle))
            {
                var count = (int)Math.Clamp(_length - offset, 0, destination.Length);
                if (count > 0)
                    _bytes.AsSpan((int)offset, count).CopyTo(destination);
                return count;
            }
        }

        public void Write(Handle handle, long offset, ReadOnlySpan<byte> bytes)
        {
            using (Enter(handle))
            {
                var end = checked((int)(offset + bytes.Length));
                Reserve(end);
                MarkDirty(offset, end);
                bytes.CopyTo(_bytes.AsSpan((int)offset));
                _length = Math.Max(_length, end);
            }
        }

        public void Truncate(Handle handle, long length)
        {
            using (Enter(handle))
            {
                if (length < _length)
                {
                    MarkDirty(length, _length);
                    _bytes.AsSpan((int)length, (int)(_length - length)).Clear();
                }

                Reserve(checked((int)length));
                _length = length;
            }
        }

        public void Sync(Handle handle)
        {
            using (Enter(handle))
            {
                if (_medium.Length < _bytes.Length)
                    Array.Resize(ref _medium, _bytes.Length);
                if (_dirty.Count * (long)SectorBytes > _bytes.Length / 2)
                    _bytes.CopyTo(_medium, 0);
                else
                    _dirty.ToList().ForEach(s => Sector(_bytes, s).CopyTo(Sector(_medium, s)));
                _mediumLength = _length;
                // Clearing costs the set's capacity, each time.
                if (_dirty.Count > 1000)
                    _dirty = [];
                else
                    _dirty.Clear();
                _earlier.Clear();
            }
        }

        public Inode AfterPowerCut(Random random)
        {
            lock (_gate)
            {
                var bytes = new byte[Math.Max(_bytes.Length, _medium.Length)];
                _medium.CopyTo(bytes, 0);
                var ends = new List<long> { _length, _mediumLength };
                // A disk may have kept most, half, or hardly any of it.
                var share = random.NextDouble();
                foreach (var sector in _dirty.Order())
                {
                    if (random.NextDouble() >= share)
                        continue;
                    var versions = _earlier.GetValueOrDefault(sector);
                    var version = random.Next((versions?.Count ?? 0) + 1);
                    Span<byte> kept = versions is not null && version < versions.Count ? versions[version] : Sector(_bytes, sector);
                    kept.CopyTo(Sector(bytes, sector));
                    ends.Add(Math.Clamp((sector + 1) * SectorBytes, Math.Min(_length, _mediumLength), Math.Max(_length, _mediumLength)));
                }

                var length = random.Next(2) == 0 ? _length : ends[random.Next(ends.Count)];
                bytes.AsSpan((int)length).Clear();
                return new() { _bytes = bytes, _medium = (byte[])bytes.Clone(), _length = length, _mediumLength = length };
            }
        }

        /// <summary>Returns when no call of a dead handle can change the file any more.</summary>
        public void Settle()
        {
            lock (_gate)
            {
            }
        }

        private Lock.Scope Enter(Handle handle)
        {
            var scope = _gate.EnterScope();
            if (handle.IsAlive)
                return scope;
            scope.Dispose();
            throw new PowerLostException();
        }

        private void Reserve(int length)
        {
            if (length > _bytes.Length)
                Array.Resize(ref _bytes, (Math.Max(length, (int)Math.Min(_bytes.Length * 2L, 1 << 30)) + SectorBytes - 1) / SectorBytes * SectorBytes);
        }

        private void MarkDirty(long from, long to)
        {
            for (var sector = from / SectorBytes; sector * SectorBytes < to; sector++)
            {
                if (_dirty.Add(sector))
                    continue;
                if (!_earlier.TryGetValue(sector, out var versions))
                    _earlier[sector] = versions = [];
                if (versions.Count < MaxVersions)
                    versions.Add(Sector(_bytes, sector).ToArray());
            }
        }

        private static Span<byte> Sector(byte[] bytes, long sector) => bytes.AsSpan((int)(sector * SectorBytes), SectorBytes);
    }

    private sealed class Handle : ICacheFile
    {
        private readonly MemoryDisk _disk;
        private readonly Inode _inode;
        private readonly bool _write;
        private readonly int _epoch;
        private volatile bool _closed;

        public Handle(MemoryDisk disk, Inode inode, bool write)
        {
            _disk = disk;
            _inode = inode;
            _write = write;
            _epoch = disk._epoch;
            disk._openFiles++;
        }

        public bool IsAlive => _epoch == _disk._epoch;

        public long Length => Open().LengthFor(this);

        public int Read(long offset, Span<byte> destination) => Open().Read(this, offset, destination);

        public bool TryReadCached(long offset, Span<byte> first, Span<byte> second, Span<byte> third)
        {
            var inode = Open();
            try
            {
                return inode.Read(this, offset, first) == first.Length
                    && inode.Read(this, offset + first.Length, second) == second.Length
                    && inode.Read(this, offset + first.Length + second.Length, third) == third.Length;
            }
            catch (IOException)
            {
                return false;
            }
        }

        public void Write(long offset, ReadOnlySpan<byte> bytes) => ForWrite().Write(this, offset, bytes);

        public void Sync() => Open().Sync(this);

        public void Truncate(long length) => ForWrite().Truncate(this, length);

        public void Dispose()
        {
            lock (_disk._gate)
            {
                if (!_closed && IsAlive)
                    _disk._openFiles--;
                _closed = true;
            }
        }

        private Inode Open()
        {
            ObjectDisposedException.ThrowIf(_closed, this);
            return _inode;
        }

        private Inode ForWrite() => _write ? Open() : throw new IOException("Opened to read.", 9);
    }
}

/// <summary>The power is off, or was off since the file was opened.</summary>
internal sealed class PowerLostException() : IOException("The power is off.", 5);
