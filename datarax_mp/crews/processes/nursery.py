"""A small process that forks workers and watches over them.

    main process                     nursery                        worker
    ------------                     -------                        ------
    asks for a worker        ---->   fork()                 ---->   serve(channel)
                             <----   tells its process
                             <----   tells how it did       <----   exits, however it happens
                                     ends what it has started (``groups``)
    closes its end, or dies  ---->   SIGKILL to all, exit
                                     killed                 ---->   SIGKILL by the kernel (PR_SET_PDEATHSIG),
                                                                    or by a thread that waits for it

What else main asks for, and how, stands in ``nursery_protocol``.

Why not fork from the main process: it has JAX's threads, and a fork copies their locks in whatever state they are (jax
#3382). Why not ``multiprocessing``'s fork server: it imports the user's main module by default, is shared with
everybody else in the process, and its children cannot see that the main process has died. The nursery has one thread,
NumPy and the NumPy half of this package loaded, and a descriptor whose other end only the main process holds. Because
it does nothing but wait, it acts within milliseconds of the main process's death even while workers are stuck in C.

A worker that has loaded a recipe and done nothing else may become a further nursery, a template: what it has imported
and unpickled is shared by all workers that are forked of it (see ``template``).
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import signal
import socket
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

from datarax_mp.core.descriptors import pipe, readable
from datarax_mp.core.edits import users_files
from datarax_mp.core.patience import Patience
from datarax_mp.crews.processes import printed
from datarax_mp.crews.processes.board import Board
from datarax_mp.crews.processes.forking import Inheritance
from datarax_mp.crews.processes.groups import LOOK_SECONDS, Groups
from datarax_mp.crews.processes.loop import TemplateDuty
from datarax_mp.crews.processes.newborn import WorkerSetup, adopt_orphans, name_process, run_worker
from datarax_mp.crews.processes.nursery_protocol import (
    Ended,
    EndUnlessDone,
    Fork,
    Signal,
    Started,
    Unload,
    next_request,
    tell,
)

_ORPHANS_SECONDS = 0.5  # for a killed template's workers to end; what a user's code has started is left to others then


@dataclass(frozen=True, slots=True)
class _Deadline:
    """A worker has until then to come to the end of message ``upto``."""

    pid: int
    upto: int
    patience: Patience


class _Nursery:
    """See the module.

    Args:
        control: what it is asked through.
        board: where workers say what they are at.
        inheritance: what they find in their memory.
        seconds: how long it stays without workers and without a request; None is as long as main does.
    """

    def __init__(
        self, control: socket.socket, board: Board, inheritance: Inheritance, seconds: float | None = None
    ) -> None:
        self.control = control
        self.board = board
        self.inheritance, self.seconds = inheritance, seconds
        self.children: dict[int, int] = {}  # process -> line
        self.deadlines: list[_Deadline] = []
        self.groups = Groups()
        self.pid = os.getpid()
        self.lifeline, self._lifeline_end = pipe()
        self.wake, self._wake_end = pipe()
        for end in (self.wake, self._wake_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(self._wake_end)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        adopt_orphans()
        gc.freeze()  # what exists now is shared with every worker for as long as nobody touches it

    def watch(self) -> None:
        """Serve the main process until it is gone, or for as long as it has a use for us."""
        waiting = [self.control.fileno(), self.wake]
        leaving = None if self.seconds is None else Patience(self.seconds)
        while True:
            patiences = [deadline.patience for deadline in self.deadlines]
            if leaving is not None and not self.children:
                patiences.append(leaving)
            seconds = min((patience.slice() for patience in patiences), default=None)
            if self.groups:
                seconds = LOOK_SECONDS
            ready = readable(waiting, seconds)
            if ready and self.seconds is not None:
                leaving = Patience(self.seconds)
            elif leaving is not None and not self.children and leaving.over():
                return
            try:
                if self.wake in ready:
                    os.read(self.wake, 4096)
                    self.reap()
                if self.control.fileno() in ready and not self.obey():
                    return
            except ConnectionError:
                return
            self.end_overdue()
            self.groups.look()

    def obey(self) -> bool:
        """Do what main asks for; False if it has gone."""
        asked = next_request(self.control)
        if asked is None:
            return False
        request, descriptors = asked
        match request:
            case Fork():
                self.fork(request.line, descriptors)
            case EndUnlessDone():
                self.deadlines.append(_Deadline(request.pid, request.upto, Patience(request.seconds)))
            case Unload():
                self.inheritance.forget(request.recipe_id)
            case Signal() if request.pid in self.children:  # not reaped, so the number is still its own
                os.kill(request.pid, request.number)
        return True

    def fork(self, line: int, descriptors: list[int]) -> None:
        try:
            if not descriptors:
                raise OSError(errno.EMFILE, "the descriptor of the channel did not arrive")
            stack, stack_end = pipe()
            descriptors += [stack, stack_end]
            os.set_blocking(stack, False)
            os.set_blocking(stack_end, False)
            with warnings.catch_warnings():
                # From Python 3.12 on it warns of any thread; those of a template are known to do no harm (``forking``).
                warnings.simplefilter("ignore", DeprecationWarning)
                pid = os.fork()
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            tell(self.control, Started(line, -1, error.errno or 0))
            return
        channel, *_ = descriptors
        if pid == 0:
            os.close(stack)
            self.leave()
            cells = self.board.cells(line)
            run_worker(
                WorkerSetup(self.pid, self.lifeline, line, cells, channel, stack_end, self.inheritance),
                self.become_template,
            )
        with contextlib.suppress(OSError):  # it does so itself, maybe a little later than somebody ends the group
            os.setpgid(pid, pid)
        os.close(channel)
        os.close(stack_end)
        self.children[pid] = line
        told = [stack, *_pidfd(pid)]
        tell(self.control, Started(line, pid, 0), told)
        for descriptor in told:
            os.close(descriptor)

    def leave(self) -> None:
        """In a child: close what is the nursery's."""
        signal.set_wakeup_fd(-1)
        self.control.close()
        for descriptor in (self.wake, self._wake_end, self._lifeline_end):
            os.close(descriptor)

    def become_template(self, setup: WorkerSetup, duty: TemplateDuty) -> NoReturn:
        """In a child that has been a worker so far: be a nursery, with the same board."""
        name_process(f"t{setup.line}")
        printed.flush()  # or every worker would print once more what was printed while the recipe was loaded
        nursery = _Nursery(socket.socket(fileno=duty.control), self.board, duty.inheritance, duty.seconds)
        nursery.watch()
        nursery.end()

    def reap(self) -> None:
        for pid, status in _ended():
            line = self.children.pop(pid, None)
            self.groups.orphan(pid)
            if line is None:
                continue  # an orphan that was adopted, maybe a worker of a template that has been killed
            tell(self.control, Ended(pid, os.waitstatus_to_exitcode(status)))

    def end_overdue(self) -> None:
        """Kill those whose time is over and who are still at what nobody waits for."""
        for deadline in [deadline for deadline in self.deadlines if deadline.patience.over()]:
            self.deadlines.remove(deadline)
            line = self.children.get(deadline.pid)
            if line is not None and self.board.handled(line) < deadline.upto:
                os.kill(deadline.pid, signal.SIGKILL)

    def end(self) -> NoReturn:
        for child in self.children:
            os.kill(child, signal.SIGKILL)
        # Nobody else reaps them: in a container, process 1 is often the training script.
        for child in self.children:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
            self.groups.orphan(child)
        orphans = Patience(_ORPHANS_SECONDS)
        while (self.reap_orphans() and not orphans.over()) or self.groups:
            time.sleep(LOOK_SECONDS)  # where we could not adopt them, nobody tells us when they end
            self.groups.look()
        os._exit(0)

    def reap_orphans(self) -> bool:
        """Whether there are still some, be they workers of a template that has just been killed."""
        for pid, _ in _ended():
            self.groups.orphan(pid)
        try:
            return os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except (AttributeError, ChildProcessError):
            return False


def main(control_fd: int, board_fd: int) -> None:
    """Serve the main process that holds the other end of ``control_fd`` until it is gone."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whatever the thread that started us has blocked
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where that is ignored, the kernel keeps no exit status
    name_process("nursery")
    _open_standard()
    printed.by_lines()
    os.set_inheritable(control_fd, False)
    board = Board(board_fd)
    board.close()  # the mapping is enough
    users_files()  # for all its workers
    nursery = _Nursery(socket.socket(fileno=control_fd), board, Inheritance())
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
