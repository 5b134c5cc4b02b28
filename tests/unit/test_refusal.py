"""Where futex_waitv cannot be called, the import says so in one clear line."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A child that makes futex_waitv fail with the given error number by a seccomp filter, and then imports.
CHILD = """
import ctypes, struct, sys
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, FUTEX_WAITV = 38, 22, 2, 449
LOAD, JUMP_IF_EQUAL, RETURN, ALLOW, ERRNO = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050000
program = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in [
        (LOAD, 0, 0, 0),
        (JUMP_IF_EQUAL, 0, 1, FUTEX_WAITV),
        (RETURN, 0, 0, ERRNO | int(sys.argv[1])),
        (RETURN, 0, 0, ALLOW),
    ]
)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(Program(4, program)), 0, 0):
    sys.exit(77)
try:
    import underpass
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (38, "underpass needs Linux 5.16 or newer: this kernel has no futex_waitv (ENOSYS)"),
        (1, "underpass needs futex_waitv, which a seccomp profile forbids here (EPERM)"),
    ],
)
def test_import_without_futex_waitv_says_why(number: int, line: str) -> None:
    run = subprocess.run([sys.executable, "-c", CHILD, str(number)], capture_output=True, text=True, check=False)
    if run.returncode == 77:
        pytest.skip("this process may not install a seccomp filter")
    assert run.stderr == ""
    assert run.stdout.startswith(line)
    assert run.stdout.count("\n") == 1
