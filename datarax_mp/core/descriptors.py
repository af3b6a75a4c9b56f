"""File descriptors of this package: never 0 to 2, never inherited, and no copies in processes that the user forks.

A daemon may have closed 0, 1 or 2, and the system gives out the lowest number that is free: a socket of ours that
landed there would get what the program prints. A copy in a forked process would keep a connection open after its owner
has died, and nobody at the other end would notice that death.
"""

from __future__ import annotations

import array
import errno
import os
import select
import socket
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

Identity: TypeAlias = tuple[int, int] | None  # what is open under a number: device and inode

_STANDARD = 2  # standard input, output and error are 0 to 2
_RECEIVE = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # from the first moment on, not a little later

QUIETLY = getattr(socket, "MSG_NOSIGNAL", 0)  # for sending: the end of the other process is an error, never a SIGPIPE

_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ENOTSOCK}

_INT = array.array("i")

# Held while a connection is made and noted, so that no other thread forks in between; a handler of a signal may.
_making = threading.RLock()
_connections: weakref.WeakSet[socket.socket] = weakref.WeakSet()


def above_standard(descriptor: int) -> int:
    """The same open file under a number above 2; the one that was given is closed where it is not that.

    Raises:
        OSError: there is no other number.
    """
    if descriptor > _STANDARD:
        return descriptor
    import fcntl  # delayed: not everywhere, and hardly ever needed

    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _STANDARD + 1)
    finally:
        os.close(descriptor)


def pipe() -> tuple[int, int]:
    """A pipe: the end to read from, and the end to write to."""
    ends = list(os.pipe())
    try:
        if min(ends) > _STANDARD:
            return ends[0], ends[1]
        moved = [above_standard(ends.pop()), above_standard(ends.pop())]
        ends += moved
        return ends[1], ends[0]
    except BaseException:
        for end in ends:
            os.close(end)
        raise


def connection(kind: int = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets; a process that the user forks closes its copies."""
    with _making:
        ends = socket.socketpair(type=kind)
        try:
            ours, theirs = (end if end.fileno() > _STANDARD else _moved(end) for end in ends)
            for end in (ours, theirs):
                end.settimeout(None)  # whatever the program's default is
        except BaseException:
            for end in ends:
                end.close()
            raise
        _connections.add(ours)
        _connections.add(theirs)
    return ours, theirs


def _moved(end: socket.socket) -> socket.socket:
    return socket.socket(fileno=above_standard(end.detach()))


def receive(sock: socket.socket, size: int, most: int, flags: int = 0) -> tuple[bytes, list[int]]:
    """Read up to ``size`` bytes, and the descriptors that came with them.

    Those that this process has no room for are lost, with all that come after them.

    Raises:
        BlockingIOError: there is nothing, and ``flags`` say not to wait.
    """
    # ``socket.recv_fds`` and ``send_fds`` take flags and drop them.
    data, rights, _, _ = sock.recvmsg(size, socket.CMSG_LEN(most * _INT.itemsize), _RECEIVE | flags)
    descriptors = array.array("i")
    for level, kind, numbers in rights:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(numbers[: len(numbers) // _INT.itemsize * _INT.itemsize])
    kept: list[int] = []
    for place, descriptor in enumerate(descriptors):
        if not _RECEIVE:
            os.set_inheritable(descriptor, False)
        try:
            kept.append(above_standard(descriptor))
        except OSError:
            for lost in descriptors[place + 1 :]:
                os.close(lost)
            break
    return data, kept


def send(sock: socket.socket, data: bytes, descriptors: Sequence[int], flags: int) -> None:
    """Write ``data``, which is so short that it goes as a whole, and descriptors beside it."""
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))], flags)


def readable(descriptors: Sequence[int], seconds: float | None) -> list[int]:
    """Wait until something can be read from one of these (its end counts, too), or ``seconds`` have passed.

    Unlike ``select.select`` this takes any number, also above 1,023.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(None if seconds is None else max(0.0, seconds) * 1000)]


def open_count() -> int | None:
    """How many this process has open, or None where nobody tells."""
    try:
        return len(os.listdir("/dev/fd")) - 1  # one of them is the listing's own
    except OSError as error:
        if error.errno is None:
            raise
        return None


def is_gone(error: OSError) -> bool:
    """Whether it says that the other end of a connection is gone, or that somebody has closed ours.

    An exception of a signal handler may be an OSError, too (``TimeoutError``), and has no number.
    """
    return error.errno in _GONE


@contextmanager
def standard_occupied() -> Iterator[None]:
    """Have something open as 0, 1 and 2 while descriptors are made whose number we cannot choose."""
    closed = [number for number in range(_STANDARD + 1) if identity(number) is None]
    placeholders = [os.open(os.devnull, os.O_RDWR) for _ in closed]  # the lowest numbers are given out first
    try:
        yield
    finally:
        for descriptor in placeholders:
            os.close(descriptor)


def identity(descriptor: int) -> Identity:
    """What is open under this number, to be asked again later; None if nothing is."""
    try:
        status = os.fstat(descriptor)
    except OSError as error:
        if error.errno is None:  # a signal handler's, such as a TimeoutError
            raise
        return None
    return status.st_dev, status.st_ino


def close_socket(end: socket.socket, known: Identity) -> None:
    """Close a socket, unless other code has closed it already and its number is another file's by now."""
    if identity(end.fileno()) == known:
        end.close()
    else:
        end.detach()


def is_still(
    descriptor: int, known: Identity, _fstat: Callable[[int], os.stat_result] = os.fstat, _bad: int = errno.EBADF
) -> bool:
    """Whether a descriptor is what it was: some code closes all that it does not know, and opens its own then."""
    # What is needed is bound above, because finalizers call this when the interpreter has taken ``os`` apart.
    try:
        status = _fstat(descriptor)
    except OSError as error:
        if error.errno != _bad:
            raise
        return False
    return known is None or known == (status.st_dev, status.st_ino)  # None: an interrupt came before it was noted


def close_known(descriptor: int, known: Identity, _close: Callable[[int], None] = os.close) -> None:
    """Close a descriptor, unless other code has."""
    if is_still(descriptor, known):
        _close(descriptor)


def _forget_connections() -> None:
    for end in list(_connections):
        end.close()
    _connections.clear()
    _making.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_forget_connections)
