"""A small process that forks workers and watches over them.

    main process                     nursery                        worker
    ------------                     -------                        ------
    b"F" + a channel's end   ---->   fork()                 ---->   serve(channel)
                             <----   b"S", pid, pidfd
                             <----   b"E", pid, status      <----   exits, however it happens
    closes its end, or dies  ---->   SIGKILL to all, exit
                                     killed                 ---->   SIGKILL by the kernel (PR_SET_PDEATHSIG)

Why not fork from the main process: it has JAX's threads, and a fork copies their locks in whatever state they are (jax
#3382). Why not ``multiprocessing``'s fork server: it imports the user's main module by default, is shared with
everybody else in the process, and its children cannot see that the main process has died. The nursery has one thread,
NumPy and the NumPy half of this package loaded, and a descriptor whose other end only the main process holds. Because
it does nothing but wait, it acts within milliseconds of the main process's death even while workers are stuck in C.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import select
import signal
import socket
import struct
import sys
from typing import Any

from datarax_mp.workers.loop import serve

NOTICE = struct.Struct("<cii")  # what happened, the process, its status

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux only


def main(control_fd: int) -> None:
    """Serve the main process that holds the other end of ``control_fd`` until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    faulthandler.enable()
    control = socket.socket(fileno=control_fd)
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else _pipe()
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.freeze()  # what exists now is shared with every worker for as long as nobody touches it
    children: set[int] = set()
    while True:
        waiting: list[Any] = [control, wake_read]
        ready, _, _ = select.select(waiting, [], [])
        try:
            if wake_read in ready:
                os.read(wake_read, 4096)
                _reap(control, children)
            if control in ready:
                request, descriptors, _, _ = socket.recv_fds(control, 1, 1)
                if not request:
                    break
                _fork(control, descriptors[0], children)
        except ConnectionError:
            break
    for child in children:
        os.kill(child, signal.SIGKILL)
    os._exit(0)


def _fork(control: socket.socket, channel_fd: int, children: set[int]) -> None:
    nursery = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(channel_fd)
        control.sendall(NOTICE.pack(b"S", -1, error.errno or 0))
        return
    if pid == 0:
        _become_worker(control, channel_fd, nursery)
    os.close(channel_fd)
    children.add(pid)
    # Opened here, where the process cannot have been reaped yet, so that its number cannot belong to another.
    pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    socket.send_fds(control, [NOTICE.pack(b"S", pid, 0)], [] if pidfd is None else [pidfd])
    if pidfd is not None:
        os.close(pidfd)


def _become_worker(control: socket.socket, channel_fd: int, nursery: int) -> None:
    status = 1
    try:
        if _prctl is not None:
            # Sent when the thread that forked us ends; the nursery has only one.
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != nursery:
                os._exit(1)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        with socket.socket(fileno=channel_fd) as channel:
            serve(channel)
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(status & 0xFF)


def _reap(control: socket.socket, children: set[int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        children.discard(pid)
        control.sendall(NOTICE.pack(b"E", pid, os.waitstatus_to_exitcode(status)))


def _pipe() -> tuple[int, int]:
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write
