"""A small process that forks workers and watches over them.

    main process                     nursery                        worker
    ------------                     -------                        ------
    FORK place + channel's end ---->   fork()               ---->   serve(channel)
                             <----   STARTED pid, stack, pidfd
                             <----   ENDED pid, status      <----   exits, however it happens
                                     ends what it has started (``groups``)
    DOOM pid, message        ---->   SIGKILL, if it has not come
                                     to its end after a while
    SIGNAL pid, number       ---->   sends it, where main has no pidfd
    closes its end, or dies  ---->   SIGKILL to all, exit
                                     killed                 ---->   SIGKILL by the kernel (PR_SET_PDEATHSIG),
                                                                    or by a thread that waits for it

Why not fork from the main process: it has JAX's threads, and a fork copies their locks in whatever state they are (jax
#3382). Why not ``multiprocessing``'s fork server: it imports the user's main module by default, is shared with
everybody else in the process, and its children cannot see that the main process has died. The nursery has one thread,
NumPy and the NumPy half of this package loaded, and a descriptor whose other end only the main process holds. Because
it does nothing but wait, it acts within milliseconds of the main process's death even while workers are stuck in C.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from datarax_mp.core.descriptors import pipe, readable, receive
from datarax_mp.core.patience import Patience
from datarax_mp.workers import board
from datarax_mp.workers.groups import LOOK_SECONDS, Groups
from datarax_mp.workers.newborn import Cradle, adopt_orphans, live, name_process

FORK, DOOM, SIGNAL = b"F", b"D", b"K"
STARTED, ENDED = b"S", b"E"
# Kind; the place to fork at, or the process to doom or to signal; its message, or the signal; and the seconds it has.
REQUEST = struct.Struct("<ciqd")
NOTICE = struct.Struct("<ciii")  # kind, place, process (-1: none could be started), status or errno


@dataclass(frozen=True, slots=True)
class _Doom:
    """Nobody waits for what this worker does: it has a while to come to the end of message ``upto``."""

    pid: int
    upto: int
    patience: Patience


class _Nursery:
    def __init__(self, control: socket.socket, board_: board.Board) -> None:
        self.control = control
        self.board = board_
        self.children: dict[int, int] = {}  # process -> place
        self.dooms: list[_Doom] = []
        self.groups = Groups()
        self.pid = os.getpid()
        self.lifeline, self._lifeline_end = pipe()
        self.wake, self._wake_end = pipe()
        for end in (self.wake, self._wake_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def watch(self) -> None:
        """Serve the main process until it is gone."""
        waiting = [self.control.fileno(), self.wake]
        while True:
            seconds = min((doom.patience.slice() for doom in self.dooms), default=None)
            if self.groups:
                seconds = LOOK_SECONDS
            ready = readable(waiting, seconds)
            try:
                if self.wake in ready:
                    os.read(self.wake, 4096)
                    self.reap()
                if self.control.fileno() in ready and not self.obey():
                    return
            except ConnectionError:
                return
            self.execute()
            self.groups.look()

    def obey(self) -> bool:
        data, descriptors = receive(self.control, REQUEST.size, 1)
        if len(data) < REQUEST.size:
            return False
        kind, number, upto, seconds = REQUEST.unpack(data)
        if kind == FORK:
            self.fork(number, descriptors)
        elif kind == DOOM:
            self.dooms.append(_Doom(number, upto, Patience(seconds)))
        elif number in self.children:  # not reaped, so the number is still its own
            os.kill(number, upto)
        return True

    def fork(self, place: int, descriptors: list[int]) -> None:
        try:
            if not descriptors:
                raise OSError(errno.EMFILE, "the descriptor of the channel did not arrive")
            stack, stack_end = pipe()
            descriptors += [stack, stack_end]
            os.set_blocking(stack, False)
            os.set_blocking(stack_end, False)
            pid = os.fork()
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            self.control.sendall(NOTICE.pack(STARTED, place, -1, error.errno or 0))
            return
        channel, *_ = descriptors
        if pid == 0:
            os.close(stack)
            self.leave()
            live(Cradle(self.pid, self.lifeline, place, self.board.line(place), channel, stack_end))
        with contextlib.suppress(OSError):  # it does so itself, maybe a little later than somebody ends the group
            os.setpgid(pid, pid)
        os.close(channel)
        os.close(stack_end)
        self.children[pid] = place
        told = [stack, *_pidfd(pid)]
        socket.send_fds(self.control, [NOTICE.pack(STARTED, place, pid, 0)], told)
        for descriptor in told:
            os.close(descriptor)

    def leave(self) -> None:
        """In a child: close what is the nursery's."""
        signal.set_wakeup_fd(-1)
        self.control.close()
        for descriptor in (self.wake, self._wake_end, self._lifeline_end):
            os.close(descriptor)

    def reap(self) -> None:
        for pid, status in _ended():
            if (place := self.children.pop(pid, None)) is None:
                continue  # an orphan that was adopted
            self.groups.orphan(pid)
            self.control.sendall(NOTICE.pack(ENDED, place, pid, os.waitstatus_to_exitcode(status)))

    def execute(self) -> None:
        """Kill those whose time is over and who are still at what nobody waits for."""
        for doom in [doom for doom in self.dooms if doom.patience.over()]:
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
            self.groups.orphan(child)
        while self.groups:
            time.sleep(LOOK_SECONDS)  # where we could not adopt them, nobody tells us when they end
            for _ in _ended():
                pass
            self.groups.look()
        os._exit(0)


def main(control_fd: int, board_fd: int) -> None:
    """Serve the main process that holds the other end of ``control_fd`` until it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    name_process("nursery")
    adopt_orphans()
    _open_standard()
    os.set_inheritable(control_fd, False)
    board_ = board.Board(board_fd)
    board_.close()  # the mapping is enough
    nursery = _Nursery(socket.socket(fileno=control_fd), board_)
    gc.freeze()  # what exists now is shared with every worker for as long as nobody touches it
    nursery.watch()
    nursery.end()


def _open_standard() -> None:
    """Have something open as 0, 1 and 2, so that nothing else comes to be there; the main process may have closed them.

    Workers inherit it: what they print goes nowhere then, as in main.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _pidfd(pid: int) -> list[int]:
    """A descriptor that becomes readable when the process ends; none where the system has no such thing, or forbids it.

    Opened here, where the process cannot have been reaped yet, so that its number cannot belong to another.
    """
    try:
        return [os.pidfd_open(pid)]
    except (AttributeError, OSError):
        return []


def _ended() -> Iterator[tuple[int, int]]:
    """Reap the children that have ended: their numbers and statuses."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status
