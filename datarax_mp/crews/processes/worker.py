"""Main's view of one worker process.

    used ---- kill: SIGKILL ---> dying ---- known to be dead ---> closed: what it had in hand is free

A process that was sent SIGKILL may write for a little longer, and one whose channel is gone may live for ever. So
nothing that a process could still write to is used again before the system says that the process is dead.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from datarax_mp.core.descriptors import Identity, identity, is_gone, is_still, readable
from datarax_mp.core.edits import last_code_version
from datarax_mp.core.proc_stat import stat_fields
from datarax_mp.crews.info import WorkerInfo
from datarax_mp.crews.processes.board import Board
from datarax_mp.crews.processes.environment import Environment
from datarax_mp.crews.processes.logs import Inbox
from datarax_mp.crews.processes.newborn import STACK_SIGNAL
from datarax_mp.crews.processes.protocol import Channel, Configure, Gone, Message, OnShelf
from datarax_mp.recipe.recorder import Sighting
from datarax_mp.recipe.work import ReadBlock, Run
from datarax_mp.ring import Segment
from datarax_mp.shipping.load import Load
from datarax_mp.shipping.need import Need

_DEATH_SECONDS = 1.0  # after SIGKILL; it takes longer where a process waits in the kernel, for a file server say
_LOOK_SECONDS = 0.005  # between two looks at a process without a descriptor that tells of its end
_STACK_SECONDS = 5.0  # a process that does not even handle a signal by then is stopped, or in the kernel
_STACK_PAUSE_SECONDS = 0.1  # faulthandler writes without pauses; there is no mark at the end


_numbers = itertools.count(1)  # of questions, over all workers
_dying: list[Worker] = []


class Question(Protocol):
    """Something a worker has been asked."""

    def discard(self) -> None:
        """Called when the answer came after whoever asked had gone."""
        ...


class Worker:
    """One worker process, as main sees it.

    Whoever holds it may talk to the process. One that is dropped without ``close`` ends the process.

    Attributes:
        channel: our end of its channel.
        line: where it says on the board what it is at.
        modules: what it has imported, as far as main knows, beyond what every worker has.
        recipe_id: the recipe that it has loaded, or None.
        attached: the number of the ring that it has mapped, or None.
        shelf: the blocks of the source that it knows others have read.
        index: its number among the workers of the pipeline that it works for, or did last.
        configured: what it was told of its surroundings last, or None; see ``configure``.
        pending: what it has been asked and has not answered yet, by number, oldest first (see ``crew``).
        since: when it was given something after it had nothing, or has answered last, by ``time.perf_counter``.
        pid: its process, known once the nursery has answered.
        sentinel: a descriptor that becomes readable when the process ends, or -1 where the system has none.
        stack_fd: where it writes its Python stack when it is told to, or when it crashes.
        code: the version of the user's code (see ``core.edits``) that it may have imported.
        closed: whether it has been given up.
        due: the number of the message that it has to come to the end of in time, since nobody waits for it.
    """

    _complete = False  # what __del__ finds if an interrupt comes in the middle of __init__

    def __init__(
        self,
        channel: Channel,
        board: Board,
        line: int,
        on_close: Callable[[int], None],
        send_signal: Callable[[int, int], None],
    ) -> None:
        self.channel = channel
        self.line = line
        self.modules: frozenset[str] = frozenset()
        self.recipe_id: int | None = None
        self.attached: int | None = None
        self.shelf: frozenset[ReadBlock] = frozenset()
        self.index = -1
        self.configured: Configure | None = None
        self._logs_to: Inbox | None = None
        self.pending: dict[int, Question] = {}
        self.since = 0.0
        self.pid = -1
        self.sentinel = -1
        self.stack_fd = -1
        self.due = 0
        self.code = last_code_version()
        self.closed = False
        self._sentinel_known: Identity = None
        self._stack_known: Identity = None
        self._board = board
        self._on_close = on_close
        self._send_signal = send_signal
        self._complete = True

    def __str__(self) -> str:
        return f"worker {self.line} (pid {self.pid})"

    def begin(self, pid: int, stack_fd: int, sentinel: int) -> None:
        """The nursery has told the process, or that there is none (-1)."""
        self._stack_known, self._sentinel_known = identity(stack_fd), identity(sentinel)
        self.stack_fd, self.sentinel, self.pid = stack_fd, sentinel, pid

    @property
    def board_fd(self) -> int:
        """The descriptor of the board."""
        return self._board.fd

    def sighting(self) -> Sighting:
        """What it is at, or was at when it died."""
        return self._board.sighting(self.line)

    def was_overdue(self) -> bool:
        """Whether the nursery has killed it for being at what nobody waited for."""
        return self._board.handled(self.line) < self.due

    def has(self, need: Need) -> bool:
        """Whether it has what takes long to load."""
        return self.recipe_id == need.recipe_id or (need.modules <= self.modules and not need.large)

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether the process has ended, or does so within some time."""
        if self.sentinel >= 0:
            ended = _is_readable(self.sentinel, seconds)
            if not ended or identity(self.sentinel) == self._sentinel_known:
                return ended
            self.sentinel = -1  # other code has closed it
        deadline = time.monotonic() + seconds
        while self.pid > 0 and self._exists():
            if (left := deadline - time.monotonic()) <= 0:
                return False
            time.sleep(min(left, _LOOK_SECONDS))
        return True

    def _exists(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, PermissionError):  # with such a permission lacking, it is another user's by now
            return False
        return stat_fields(Path(f"/proc/{self.pid}/stat"))[:1] not in (["Z"], ["X"])  # dead, but not reaped

    def configure(self, environment: Environment, index: int, count: int, logs: Inbox) -> None:
        """Tell it where it works and who it is, unless it knows."""
        message = Configure(environment, WorkerInfo(index, count))
        descriptors = [] if self._logs_to is logs else [logs.address]
        if descriptors or message != self.configured:
            self.index, self.configured, self._logs_to = index, message, logs
            self.tell(message, descriptors)

    def ask(self, question: Question, message: Load | ReadBlock | Run, descriptors: Sequence[int] = ()) -> None:
        """Send what will be answered. If the process has died, that shows where answers are read."""
        number = next(_numbers)
        if not self.pending:
            self.since = time.perf_counter()
        self.pending[number] = question
        self._send(number, message, descriptors)

    def lend(self, shelved: Mapping[ReadBlock, tuple[int, Segment]]) -> None:
        """Have it know these blocks of the source, and their sizes and files, if it does not."""
        new = [reading for reading in shelved if reading not in self.shelf]
        if not new and shelved:
            return
        there = [reading for reading in shelved if reading in self.shelf]
        sizes, files = zip(*(shelved[reading] for reading in new), strict=True) if new else ((), ())
        self.tell(OnShelf((*there, *new), sizes), [file.descriptor() for file in files])
        self.shelf = frozenset(shelved)

    def tell(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Send what has no answer; as ``ask`` otherwise."""
        self._send(0, message, descriptors)

    def _send(self, number: int, message: Message, descriptors: Sequence[int]) -> None:
        try:
            self.channel.send(number, message, descriptors)
        except Gone:
            pass

    def answers(self) -> list[tuple[Question, Any]]:
        """What has been answered meanwhile, with the questions.

        Raises:
            Gone: the channel is closed, and nothing is left to read.
        """
        self.since = time.perf_counter()
        # What answers no question comes from a process that the user's code has forked there.
        return [(self.pending.pop(number), answer) for number, answer in self.channel.take() if number in self.pending]

    def discard_answers(self) -> None:
        """Read what has been answered meanwhile to questions that nobody waits for any more.

        Raises:
            Gone: the channel is closed.
        """
        if self.pending and _is_readable(self.channel.fileno(), 0):
            for number, _ in self.channel.take():
                self._discard(number)

    def stack(self) -> str:
        """The Python stack that it wrote when it crashed, or an empty text."""
        return self._read_stack(0)

    def ask_stack(self) -> str:
        """Have it write its Python stack, whatever it is doing; an empty text if it does not react."""
        self._read_stack(0)  # what may be left of an earlier time
        self._signal(STACK_SIGNAL)
        return self._read_stack(_STACK_SECONDS)

    def _read_stack(self, seconds: float) -> str:
        data = b""
        if identity(self.stack_fd) != self._stack_known:
            return ""  # other code has closed it
        while self.stack_fd >= 0 and _is_readable(self.stack_fd, seconds):
            part = os.read(self.stack_fd, 1 << 16)
            if not part:
                break  # it has ended
            data += part
            seconds = min(seconds, _STACK_PAUSE_SECONDS)
        return data.decode(errors="replace").strip()

    def close(self, _close: Callable[[int], None] = os.close) -> None:
        """Let go of everything, once the process is dead or in a process forked from the one it belongs to."""
        self.closed = True
        for number in list(self.pending):
            self._discard(number)
        self.channel.close()
        self.pid = -1
        while self.sentinel >= 0:
            ours = is_still(self.sentinel, self._sentinel_known)
            descriptor, self.sentinel = self.sentinel, -1  # no handler comes between this and the end of closing it
            if ours:
                _close(descriptor)
        while self.stack_fd >= 0:
            ours = is_still(self.stack_fd, self._stack_known)
            descriptor, self.stack_fd = self.stack_fd, -1
            if ours:
                _close(descriptor)
        if self.line >= 0:
            line, self.line = self.line, -1
            self._on_close(line)

    def _discard(self, number: int) -> None:
        if number in self.pending:
            self.pending[number].discard()
            self.pending.pop(number, None)

    def end(self) -> None:
        """Send SIGKILL, and do not wait."""
        self.closed = True
        if self.pid > 0 and not self.ended():
            self._signal(signal.SIGKILL)

    def kill(self, seconds: float = _DEATH_SECONDS) -> None:
        """End the process, whatever it is doing, and free what it had in hand as soon as it is dead.

        If that takes longer than ``seconds``, ``reap_dying`` does it later.
        """
        self.end()
        if self.ended(seconds):
            self.close()
        else:
            self.channel.close()
            _dying.append(self)

    def _signal(self, number: int) -> None:
        """Send a signal, by means that cannot hit another process with the same number as far as there are any."""
        try:
            if self.sentinel >= 0:
                signal.pidfd_send_signal(self.sentinel, number)
                return
        except ProcessLookupError:
            return  # it has ended a moment ago
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EBADF):  # refused, or closed by other code
                raise
        try:
            self._send_signal(self.pid, number)
        except OSError as error:
            if not (is_gone(error) or isinstance(error, BlockingIOError)):
                raise
            with suppress(ProcessLookupError):  # the nursery has died, or does not react
                if (pid := self.pid) > 0:  # not closed meanwhile: -1 would be everybody
                    os.kill(pid, number)

    def __del__(self, _ending: Callable[[], bool] = sys.is_finalizing) -> None:
        # The net under an interrupt at an unlucky line: a process that nobody can reach any more is of no use. When the
        # interpreter ends, the nursery sees to it, and half of what this calls may be gone.
        if not self._complete or self.line < 0:
            return
        if _ending():
            self.channel.socket.detach()
        else:
            self.kill(0)


def reap_dying() -> None:
    """Free what those had in hand who were killed a while ago."""
    for worker in list(_dying):
        if worker.ended():
            worker.close()  # which may be done again, after an interrupt
            with suppress(ValueError):  # another thread, or a handler, was quicker
                _dying.remove(worker)


def _is_readable(descriptor: int, seconds: float) -> bool:
    return bool(readable([descriptor], seconds))
