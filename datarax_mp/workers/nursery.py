"""A small process that forks workers and watches over them.

    main process                     nursery                        worker
    ------------                     -------                        ------
    FORK place + channel's end ---->   fork()               ---->   serve(channel)
                             <----   STARTED pid, stack, pidfd
                             <----   ENDED pid, status      <----   exits, however it happens
    DOOM pid, message        ---->   SIGKILL, if it has not come
                                     to its end after a while
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
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from datarax_mp.workers import board
from datarax_mp.workers.loop import serve

FORK, DOOM = b"F", b"D"
STARTED, ENDED = b"S", b"E"
REQUEST = struct.Struct("<ciqd")  # kind; the place to fork at, or the process to doom, its message and the seconds
NOTICE = struct.Struct("<ciii")  # kind, place, process, status

# Makes a worker write its Python stack to its pipe. A real-time signal, because users' code uses the other free ones.
STACK_SIGNAL = signal.SIGRTMAX - 1 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux only


@dataclass(frozen=True, slots=True)
class _Doom:
    """Nobody waits for what this worker does: it has until ``deadline`` to come to the end of message ``upto``."""

    pid: int
    upto: int
    deadline: float


class _Nursery:
    def __init__(self, control: socket.socket, board_: board.Board) -> None:
        self.control = control
        self.board = board_
        self.children: dict[int, int] = {}  # process -> place
        self.dooms: list[_Doom] = []
        self.pid = os.getpid()

    def watch(self, wake: int) -> None:
        """Serve the main process until it is gone."""
        waiting: list[Any] = [self.control, wake]
        while True:
            seconds = min((doom.deadline for doom in self.dooms), default=None)
            ready, _, _ = select.select(
                waiting, [], [], None if seconds is None else max(0.0, seconds - time.monotonic())
            )
            try:
                if wake in ready:
                    os.read(wake, 4096)
                    self.reap()
                if self.control in ready and not self.obey():
                    return
            except ConnectionError:
                return
            self.execute()

    def obey(self) -> bool:
        data, descriptors, _, _ = socket.recv_fds(self.control, REQUEST.size, 1)
        if len(data) < REQUEST.size:
            return False
        kind, number, upto, seconds = REQUEST.unpack(data)
        if kind == FORK:
            self.fork(number, descriptors[0])
        else:
            self.dooms.append(_Doom(number, upto, time.monotonic() + seconds))
        return True

    def fork(self, place: int, channel_fd: int) -> None:
        stack_read, stack_write = _pipe()
        try:
            pid = os.fork()
        except OSError as error:
            for descriptor in (channel_fd, stack_read, stack_write):
                os.close(descriptor)
            self.control.sendall(NOTICE.pack(STARTED, place, -1, error.errno or 0))
            return
        if pid == 0:
            os.close(stack_read)
            _become_worker(self, place, channel_fd, stack_write)
        os.close(channel_fd)
        os.close(stack_write)
        self.children[pid] = place
        descriptors = [stack_read]
        # Opened here, where the process cannot have been reaped yet, so that its number cannot belong to another.
        if hasattr(os, "pidfd_open"):
            descriptors.append(os.pidfd_open(pid))
        socket.send_fds(self.control, [NOTICE.pack(STARTED, place, pid, 0)], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)

    def reap(self) -> None:
        while self.children:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            place = self.children.pop(pid, -1)
            self.control.sendall(NOTICE.pack(ENDED, place, pid, os.waitstatus_to_exitcode(status)))

    def execute(self) -> None:
        """Kill those whose time is over and who are still at what nobody waits for."""
        now = time.monotonic()
        for doom in [doom for doom in self.dooms if doom.deadline <= now]:
            self.dooms.remove(doom)
            place = self.children.get(doom.pid)
            if place is not None and self.board.handled(place) < doom.upto:
                os.kill(doom.pid, signal.SIGKILL)

    def end(self) -> NoReturn:
        for child in self.children:
            os.kill(child, signal.SIGKILL)
        # Nobody else reaps them: in a container, process 1 is often the training script.
        for child in self.children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        os._exit(0)


def main(control_fd: int, board_fd: int) -> None:
    """Serve the main process that holds the other end of ``control_fd`` until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    _name_process("nursery")
    wake_read, wake_write = _pipe()
    signal.set_wakeup_fd(wake_write)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    nursery = _Nursery(socket.socket(fileno=control_fd), board.Board(board_fd))
    gc.freeze()  # what exists now is shared with every worker for as long as nobody touches it
    nursery.watch(wake_read)
    nursery.end()


def _become_worker(nursery: _Nursery, place: int, channel_fd: int, stack_fd: int) -> NoReturn:
    status = 1
    try:
        if _prctl is not None:
            # Sent when the thread that forked us ends; the nursery has only one.
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != nursery.pid:
                os._exit(1)
        _name_process(f"w{place}")
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        nursery.control.close()
        board.use(nursery.board.line(place))
        # A crash writes the stack there too, and main shows it; nothing is written to the user's terminal.
        faulthandler.enable(stack_fd)
        faulthandler.register(STACK_SIGNAL, stack_fd)
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


def _name_process(name: str) -> None:
    """What ``top`` and ``ps -o comm`` show; the kernel keeps 15 bytes."""
    if _prctl is not None:
        _prctl(_PR_SET_NAME, f"datarax_mp {name}".encode()[:15], 0, 0, 0)


def _pipe() -> tuple[int, int]:
    """A pipe that is neither inherited nor ever blocks anybody."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write
