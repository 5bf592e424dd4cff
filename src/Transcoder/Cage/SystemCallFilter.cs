using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Delivery.Transcoder.Cage;

/// <summary>
/// The system calls that a tool in the sandbox is refused, as a classic BPF program (seccomp(2)): what no namespace holds back (keyrings, vsock, the
/// kernel's younger interfaces), and processes: a tool is one, so that it can neither leave any behind nor fill the machine with them.
/// </summary>
/// <remarks>A list of refusals, not of permissions: a new libc or codec may call what no old one did, and must not fail for it.</remarks>
internal static partial class SystemCallFilter
{
    private const int NotPermitted = 1; // EPERM
    private const int NoSuchCall = 38; // ENOSYS
    private const uint Thread = 0x0001_0000; // CLONE_THREAD

    // linux/bpf_common.h
    private const ushort Load = 0x20, IfEqual = 0x15, IfAtLeast = 0x35, IfBitSet = 0x45, Return = 0x06;

    // linux/seccomp.h: offsets in struct seccomp_data, and what a program returns.
    private const uint Number = 0, Architecture = 4, FirstArgument = 16;
    private const uint Allow = 0x7fff_0000, Refuse = 0x0005_0000, Kill = 0x8000_0000;

    // The calls of the kernel's last years have one number on all CPUs (asm-generic/unistd.h).
    private const uint Clone3 = 435;

    // pidfd_send_signal, io_uring_setup, _enter, _register, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_open, pidfd_getfd, mount_setattr, quotactl_fd
    private static readonly uint[] Young = [424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 442, 443];

    // socket, socketpair, fork, vfork, ptrace, syslog, personality, pivot_root, acct, mount, umount2, quotactl, add_key, request_key, keyctl, unshare,
    // perf_event_open, name_to_handle_at, open_by_handle_at, setns, process_vm_readv, process_vm_writev, bpf, userfaultfd
    private static readonly uint[] X64 = [41, 53, 57, 58, 101, 103, 135, 155, 163, 165, 166, 179, 248, 249, 250, 272, 298, 303, 304, 308, 310, 311, 321, 323];

    // The same, which has no fork and vfork.
    private static readonly uint[] Arm64 = [198, 199, 117, 116, 92, 41, 89, 40, 39, 60, 217, 218, 219, 97, 241, 264, 265, 268, 270, 271, 280, 282];

    /// <summary>A file that the next child process inherits; null on a CPU without a list.</summary>
    /// <exception cref="IOException">The kernel refuses one.</exception>
    public static SafeFileHandle? Open()
    {
        if (Program(RuntimeInformation.ProcessArchitecture) is not { } program)
            return null;
        var file = new SafeFileHandle(MemoryFile("delivery-seccomp", 0), ownsHandle: true);
        if (file.IsInvalid)
            throw new IOException($"No memory file for the system call filter (error {Marshal.GetLastPInvokeError()}).");
        RandomAccess.Write(file, program, 0); // Leaves the position at the start, where bwrap reads from.
        return file;
    }

    internal static byte[]? Program(Architecture cpu) => cpu switch
    {
        System.Runtime.InteropServices.Architecture.X64 => Program(0xc000_003e, X64, clone: 56),
        System.Runtime.InteropServices.Architecture.Arm64 => Program(0xc000_00b7, Arm64, clone: 220),
        _ => null,
    };

    private static byte[] Program(uint architecture, uint[] refused, uint clone)
    {
        using var program = new MemoryStream();
        Add(Load, Architecture);
        Add(IfEqual, architecture, then: 1);
        Add(Return, Kill); // Calls by another table of numbers, which this list does not fit.
        Add(Load, Number);
        Add(IfAtLeast, 0x4000_0000, otherwise: 1); // x32: again another table
        Add(Return, Refuse | NotPermitted);
        Add(IfEqual, Clone3, otherwise: 1);
        Add(Return, Refuse | NoSuchCall); // Its flags are out of a filter's sight; without it, libc makes threads by clone.
        foreach (var call in (uint[])[.. refused, .. Young])
        {
            Add(IfEqual, call, otherwise: 1);
            Add(Return, Refuse | NotPermitted);
        }

        Add(IfEqual, clone, otherwise: 3);
        Add(Load, FirstArgument);
        Add(IfBitSet, Thread, then: 1);
        Add(Return, Refuse | NotPermitted);
        Add(Return, Allow);
        return program.ToArray();

        void Add(ushort code, uint value, byte then = 0, byte otherwise = 0)
        {
            Span<byte> instruction = stackalloc byte[8]; // struct sock_filter
            BinaryPrimitives.WriteUInt16LittleEndian(instruction, code);
            instruction[2] = then;
            instruction[3] = otherwise;
            BinaryPrimitives.WriteUInt32LittleEndian(instruction[4..], value);
            program.Write(instruction);
        }
    }

    // Without MFD_CLOEXEC, which everything has that .NET opens.
    [LibraryImport("libc", EntryPoint = "memfd_create", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int MemoryFile(string name, uint flags);
}
