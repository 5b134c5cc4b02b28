"""Docker's default seccomp profile, as a filter of this process.

`python -m tests.crash.docker_seccomp MODULE [ARGUMENT…]` runs a module in it.

The profile is a list of what is allowed to a container without capabilities; here stands its complement on x86-64, which is
shorter: what it refuses with EPERM, and what is newer than its newest entry and refused with ENOSYS (moby/profiles/seccomp/default.json).
"""

import ctypes
import errno
import runpy
import struct
import sys

# Refused with EPERM to a container without capabilities.
REFUSED = {
    "process_vm_readv": 310,
    "process_vm_writev": 311,
    "kcmp": 312,
    "name_to_handle_at": 303,
    "open_by_handle_at": 304,
    "acct": 163,
    "settimeofday": 164,
    "mount": 165,
    "umount2": 166,
    "swapon": 167,
    "swapoff": 168,
    "reboot": 169,
    "sethostname": 170,
    "setdomainname": 171,
    "iopl": 172,
    "ioperm": 173,
    "create_module": 174,
    "init_module": 175,
    "delete_module": 176,
    "get_kernel_syms": 177,
    "query_module": 178,
    "quotactl": 179,
    "nfsservctl": 180,
    "lookup_dcookie": 212,
    "clock_settime": 227,
    "mbind": 237,
    "set_mempolicy": 238,
    "get_mempolicy": 239,
    "kexec_load": 246,
    "add_key": 248,
    "request_key": 249,
    "keyctl": 250,
    "migrate_pages": 256,
    "unshare": 272,
    "move_pages": 279,
    "perf_event_open": 298,
    "fanotify_init": 300,
    "setns": 308,
    "finit_module": 313,
    "kexec_file_load": 320,
    "bpf": 321,
    "userfaultfd": 323,
    "uselib": 134,
    "ustat": 136,
    "sysfs": 139,
    "vhangup": 153,
    "pivot_root": 155,
    "chroot": 161,
    "_sysctl": 156,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_getfd": 438,
    "process_madvise": 440,
    "mount_setattr": 442,
    "quotactl_fd": 443,
    "set_mempolicy_home_node": 450,
}
# clone3 hides its flags behind a pointer: refused as if it did not exist, so that libcs fall back to clone.
UNKNOWN = {"clone3": 435}
# The newest entry of the list; futex_waitv is 449.
NEWEST = 450

# Classic BPF, from linux/filter.h and linux/seccomp.h.
LOAD_NUMBER = (0x20, 0, 0, 0)
RETURN = 0x06
JUMP_IF_EQUAL = 0x15
JUMP_IF_GREATER = 0x25
ALLOW = 0x7FFF0000
ERRNO = 0x00050000

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2


def program() -> list[tuple[int, int, int, int]]:
    """Return the filter's instructions: code, jump if true, jump if false, operand."""
    refuse = (RETURN, 0, 0, ERRNO | errno.EPERM)
    unknown = (RETURN, 0, 0, ERRNO | errno.ENOSYS)
    instructions = [LOAD_NUMBER]
    for number in REFUSED.values():
        instructions += [(JUMP_IF_EQUAL, 0, 1, number), refuse]
    for number in UNKNOWN.values():
        instructions += [(JUMP_IF_EQUAL, 0, 1, number), unknown]
    return [*instructions, (JUMP_IF_GREATER, 0, 1, NEWEST), unknown, (RETURN, 0, 0, ALLOW)]


def confine() -> None:
    """Put this process and those it starts under the filter, for good."""
    instructions = program()
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *instruction) for instruction in instructions))
    whole = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(instructions), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, whole, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp filter refused: {errno.errorcode.get(number)}")


if __name__ == "__main__":
    confine()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
