using System.ComponentModel;
using System.Runtime.InteropServices;

namespace Delivery.Bench.Load;

/// <summary>
/// epoll(7) without the runtime between: the thread that sees a byte is the thread that takes its time, and ten thousand sockets cost one system call a round.
/// </summary>
internal sealed unsafe partial class Epoll : IDisposable
{
    private const int In = 1;
    private const int Add = 1;
    private const int Again = 11;
    private const int Interrupted = 4;
    private const int DontWait = 0x40;
    private const int NoSignal = 0x4000;
    private const int Truncate = 0x20;

    private readonly int _descriptor = epoll_create1(0);
    private readonly Ready[] _ready = new Ready[512];

    public Epoll()
    {
        // The layout of epoll_event is this processor's alone.
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64)
            throw new PlatformNotSupportedException("the load tool runs on x86-64 alone");
    }

    /// <summary>Watches a descriptor for bytes; <paramref name="number"/> comes back with them.</summary>
    public void Watch(int descriptor, int number)
    {
        var wanted = new Ready { Events = In, Number = number };
        if (epoll_ctl(_descriptor, Add, descriptor, &wanted) < 0)
            throw new Win32Exception(Marshal.GetLastPInvokeError());
    }

    /// <summary>The numbers whose descriptors can be read; waits for the first up to <paramref name="milliseconds"/>.</summary>
    public ReadOnlySpan<Ready> Wait(int milliseconds)
    {
        fixed (Ready* ready = _ready)
        {
            var count = epoll_wait(_descriptor, ready, _ready.Length, milliseconds);
            if (count < 0 && Marshal.GetLastPInvokeError() != Interrupted)
                throw new Win32Exception(Marshal.GetLastPInvokeError());
            return _ready.AsSpan(0, Math.Max(count, 0));
        }
    }

    /// <summary>Bytes received; 0 at the end of the stream, -1 when there are none now, -2 when the connection failed.</summary>
    public static long Receive(int descriptor, Span<byte> into)
    {
        fixed (byte* pointer = into)
            return Judge(recv(descriptor, pointer, (nuint)into.Length, DontWait));
    }

    /// <summary>Like <see cref="Receive"/>, but the kernel throws the bytes away (tcp(7), MSG_TRUNC): a client that costs its server's machine next to nothing.</summary>
    public static long Discard(int descriptor, long atMost) => Judge(recv(descriptor, null, (nuint)Math.Min(atMost, 1 << 30), DontWait | Truncate));

    public static bool Send(int descriptor, ReadOnlySpan<byte> bytes)
    {
        fixed (byte* pointer = bytes)
            return send(descriptor, pointer, (nuint)bytes.Length, DontWait | NoSignal) == bytes.Length;
    }

    public void Dispose() => _ = close(_descriptor);

    private static long Judge(nint received) => received >= 0 ? received : Marshal.GetLastPInvokeError() is Again or Interrupted ? -1 : -2;

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_create1(int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_ctl(int epoll, int operation, int descriptor, Ready* wanted);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int epoll_wait(int epoll, Ready* ready, int atMost, int milliseconds);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint recv(int descriptor, byte* into, nuint length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint send(int descriptor, byte* from, nuint length, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int close(int descriptor);

    // epoll_event is packed on x86-64: epoll_ctl(2).
    [StructLayout(LayoutKind.Explicit, Size = 12)]
    public struct Ready
    {
        [FieldOffset(0)]
        public uint Events;

        [FieldOffset(4)]
        public int Number;
    }
}
