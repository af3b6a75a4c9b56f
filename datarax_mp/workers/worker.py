"""Main's view of one worker process."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from datarax_mp.core.descriptors import close_quietly, is_gone, readable
from datarax_mp.workers.board import Board, Sighting
from datarax_mp.workers.newborn import STACK_SIGNAL
from datarax_mp.workers.protocol import Channel

_STACK_SECONDS = 1.0  # a process that does not even handle a signal by then is stopped, or in the kernel
_STACK_PAUSE_SECONDS = 0.1  # faulthandler writes without pauses; there is no mark at the end


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
        place: its line on the board.
        loaded: the number of the program that it has, or None.
        attached: the number of the ring that it has mapped, or None.
        pending: what it has been asked and has not answered yet, oldest first (see ``crew``).
        pid: its process, known once the nursery has answered.
        sentinel: a descriptor that becomes readable when the process ends, or -1 where the system has none.
        stack_fd: where it writes its Python stack when it is told to, or when it crashes.
        doomed: the number of the message that it had to come to the end of, when nobody waited for it any more.
    """

    _complete = False  # what __del__ finds if an interrupt comes in the middle of __init__

    def __init__(
        self,
        channel: Channel,
        board: Board,
        place: int,
        on_close: Callable[[int], None],
        send_signal: Callable[[int, int], None],
    ) -> None:
        self.channel = channel
        self.place = place
        self.loaded: int | None = None
        self.attached: int | None = None
        self.pending: deque[Question] = deque()
        self.pid = -1
        self.sentinel = -1
        self.stack_fd = -1
        self.doomed = 0
        self._board = board
        self._on_close = on_close
        self._send_signal = send_signal
        self._complete = True

    def __str__(self) -> str:
        return f"worker {self.place} (pid {self.pid})"

    def sighting(self) -> Sighting:
        """What it is at, or was at when it died."""
        return self._board.sighting(self.place)

    @property
    def closed(self) -> bool:
        """Whether it has been given up."""
        return self.place < 0

    def was_doomed(self) -> bool:
        """Whether the nursery has killed it for being at what nobody waited for."""
        return self._board.handled(self.place) < self.doomed

    def ended(self) -> bool:
        """Whether the process has ended, as far as the operating system says so without waiting."""
        return _is_readable(self.sentinel, 0) if self.sentinel >= 0 else self._has_left()

    def _has_left(self) -> bool:
        """Whether its end of the channel is closed, which only it holds."""
        try:
            return self.channel.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError as error:
            if not is_gone(error):
                raise
            return True

    def discard_answers(self) -> None:
        """Read what has been answered meanwhile to questions that nobody waits for any more.

        Raises:
            EOFError: the process has ended.
        """
        if self.pending and _is_readable(self.channel.fileno(), 0):
            for _ in self.channel.take():
                self.pending.popleft().discard()

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
        while self.stack_fd >= 0 and _is_readable(self.stack_fd, seconds):
            part = os.read(self.stack_fd, 1 << 16)
            if not part:
                break  # it has ended
            data += part
            seconds = min(seconds, _STACK_PAUSE_SECONDS)
        return data.decode(errors="replace").strip()

    def close(self) -> None:
        """Close our descriptors; the worker leaves when it reads the end of its channel."""
        while self.pending:
            self.pending.popleft().discard()
        if self.place >= 0:
            self._on_close(self.place)
            self.place = -1
        self.channel.close()
        for descriptor in (self.sentinel, self.stack_fd):
            if descriptor >= 0:
                close_quietly(descriptor)
        self.sentinel = self.stack_fd = self.pid = -1

    def kill(self) -> None:
        """End the process, whatever it is doing."""
        if self.pid > 0 and not self.ended():
            self._signal(signal.SIGKILL)
        self.close()

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
                os.kill(self.pid, number)

    def __del__(self) -> None:
        # The net under an interrupt at an unlucky line: a process that nobody can reach any more is of no use.
        if self._complete:
            self.kill()


def _is_readable(descriptor: int, seconds: float) -> bool:
    return bool(readable([descriptor], seconds))
