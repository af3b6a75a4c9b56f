"""Run a command on a system that lacks calls, or forbids them: ``python tests/refuse.py ENOSYS all -- command ...``.

    pidfd_open, pidfd_send_signal, memfd_create, fallocate, prctl     fail with ENOSYS or EPERM, by a seccomp filter
    tmpfile                                                           O_TMPFILE is not known (EOPNOTSUPP), likewise
    collapse                                                          MADV_COLLAPSE is not known (EINVAL), likewise
    proc                                                              the environment says where /proc is to be hidden

The filter holds for all processes that the command starts. Hiding /proc takes a mount namespace, hence root; the test
suite's ``conftest`` hides it when it has imported what needs it itself. Exits with 77 where the system cannot do this.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
import tempfile

# Numbers of the calls on x86-64 and on 64-bit ARM.
CALLS = {
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "memfd_create": (319, 279),
    "fallocate": (285, 47),
    "prctl": (157, 167),
}
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
OPENAT, MADVISE = (257, 56), (28, 233)
ALL = [*CALLS, "tmpfile", "collapse", "proc"]
CANNOT = 77

_LOAD, _EQUAL, _ANY_OF, _RETURN = 0x20, 0x15, 0x45, 0x06  # classic BPF, as seccomp takes it
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_TMPFILE, _COLLAPSE = 0o20000000, 25
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2
_CLONE_NEWNS, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18

libc = ctypes.CDLL(None, use_errno=True)


def filter_of(names: list[str], number: int) -> bytes:
    """A program that refuses these calls with this error."""
    index, architecture = MACHINES[platform.machine()]
    lines = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, 0)]
    for name in names:
        if name in CALLS:
            lines += [(_EQUAL, 0, 1, CALLS[name][index]), (_RETURN, 0, 0, _ERRNO | number)]
    if "tmpfile" in names:
        refused = (_RETURN, 0, 0, _ERRNO | errno.EOPNOTSUPP)
        lines += [(_EQUAL, 0, 3, OPENAT[index]), (_LOAD, 0, 0, 32), (_ANY_OF, 0, 1, _TMPFILE), refused]
    if "collapse" in names:
        unknown = (_RETURN, 0, 0, _ERRNO | errno.EINVAL)
        lines += [
            (_LOAD, 0, 0, 0),
            (_EQUAL, 0, 3, MADVISE[index]),
            (_LOAD, 0, 0, 32),
            (_EQUAL, 0, 1, _COLLAPSE),
            unknown,
        ]
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def install(program: bytes) -> None:
    """Have this process and all that come from it obey a filter."""

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("lines", ctypes.c_char_p)]

    described = Program(len(program) // 8, program)
    checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(described), 0, 0))


def set_aside_proc() -> str:
    """Make /proc available at another place, in a mount namespace of this process's own."""
    place = tempfile.mkdtemp(prefix="proc-")
    checked(libc.unshare(_CLONE_NEWNS))
    checked(libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None))
    checked(libc.mount(b"/proc", place.encode(), None, _MS_BIND | _MS_REC, None))
    return place


def hide_proc() -> None:
    """Leave nothing at /proc but what XLA cannot do without."""
    with open("/proc/cpuinfo", "rb") as file:
        processors = file.read()
    checked(libc.mount(b"none", b"/proc", b"tmpfs", 0, b"mode=755"))
    with open("/proc/cpuinfo", "wb") as file:
        file.write(processors)


def checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def main() -> None:
    number, names = getattr(errno, sys.argv[1]), sys.argv[2].split(",")
    command = sys.argv[sys.argv.index("--") + 1 :]
    if names == ["all"]:
        names = ALL
    unknown = set(names) - set(ALL)
    if unknown:
        sys.exit(f"unknown: {unknown}")
    os.environ["DATARAX_MP_TEST_REFUSED"] = ",".join(names)
    try:
        if "proc" in names:
            os.environ["DATARAX_MP_TEST_PROC"] = set_aside_proc()
        if names != ["proc"]:
            install(filter_of(names, number))
    except (OSError, KeyError, AttributeError) as error:
        print(f"this system cannot refuse {names}: {error!r}", file=sys.stderr)
        sys.exit(CANNOT)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
