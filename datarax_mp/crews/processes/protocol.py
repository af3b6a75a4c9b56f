"""What main and a worker say to each other, and the channel they say it through.

    main                                       worker
    Configure, with descriptor       --------> makes main's environment its own
    Load, with descriptors           --------> unpickles the recipe
                                     <-------- Loaded (with the layouts, if asked to probe) | Failed
    BecomeTemplate, with descriptor  --------> becomes a template, of which workers are forked
    Attach, with descriptor          --------> maps the ring
    ReadBlock, with descriptor       --------> reads a block of the source into an empty file
                                     <-------- Shelved | Failed
    OnShelf, with descriptors        --------> knows which blocks others have read, for the runs that follow
    Run                              --------> fills a slot with consecutive batches
                                     <-------- Done | Failed
    Park                             --------> may leave when nothing comes for a while
    Unload                           --------> forgets recipe and ring

A channel is one stream socket with one writer and one reader at each end, used synchronously: no thread, no lock and no
queue stands between, so a process that is killed at any instruction leaves nothing locked. Every message goes as a pair
with a number. Load, ReadBlock and Run are questions, and the answer has the number of its question, so that it can
never be taken for the answer to another one; the other messages have no answer. What a worker is at while it is silent
stands on the board (``board``).

Messages are named tuples because those pickle in a third of the time that dataclasses take.
"""

from __future__ import annotations

import array
import errno
import pickle
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from datarax_mp.core.descriptors import QUIETLY, close_socket, identity, is_gone, receive
from datarax_mp.crews.info import WorkerInfo
from datarax_mp.crews.processes.environment import Environment
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.work import Done, Failed, ReadBlock, Run, Shelved
from datarax_mp.shipping.load import Load

_HEADER = struct.Struct("<QI")  # bytes of the pickle, and how many descriptors come before it
_DESCRIPTORS = 128  # in one system call; Linux takes 253, others fewer
_IN_FLIGHT_SECONDS = 10.0  # for others to take theirs, where a user may have only so many descriptors under way
_CHUNK = 1 << 16


class Configure(NamedTuple):
    """Be this worker, in this environment; what is logged goes to the descriptor that comes along, if one does."""

    environment: Environment
    worker: WorkerInfo


class BecomeTemplate(NamedTuple):
    """Fork workers from now on, as the nursery does, for whoever holds the other end of the descriptor.

    Attributes:
        seconds: leave after so long without workers and without a request.
    """

    seconds: float


class Attach(NamedTuple):
    """Map this ring (its descriptor comes along) and write batches as the layout says.

    Attributes:
        size: bytes of the ring.
        slot_bytes: bytes of a slot.
        layouts: what a batch holds.
    """

    size: int
    slot_bytes: int
    layouts: Layouts


class OnShelf(NamedTuple):
    """Blocks that have been read; what was on the shelf before and is not among them is there no longer.

    Attributes:
        blocks: which, and for which epoch.
        sizes: bytes of the files of those that are new, which are the last ones; their descriptors come along.
    """

    blocks: tuple[ReadBlock, ...]
    sizes: tuple[int, ...]


class Park(NamedTuple):
    """No pipeline needs you just now: leave after ``seconds`` without a message."""

    seconds: float


class Unload(NamedTuple):
    """Forget the recipe and let go of its memory."""


class Fitness(NamedTuple):
    """Whether a process may become a template.

    Attributes:
        modules: what it has imported.
        inherits: whether its workers may find the recipe in their memory.
        trouble: why it must not be forked, as the end of a sentence about it; empty if it may.
    """

    modules: frozenset[str]
    inherits: bool
    trouble: str


class Loaded(NamedTuple):
    """The recipe is ready; ``layouts`` and ``fitness`` are there if they were asked for.

    Attributes:
        layouts: what came of the first record.
        fitness: of the process.
    """

    layouts: Layouts | None
    fitness: Fitness | None = None


Message: TypeAlias = (
    Configure
    | Load
    | BecomeTemplate
    | Attach
    | ReadBlock
    | OnShelf
    | Run
    | Park
    | Unload
    | Loaded
    | Shelved
    | Done
    | Failed
)


class Gone(Exception):
    """The other end of a channel is closed, most often because its process has ended."""


class Channel:
    """One end of a duplex connection: pickled messages with a length before each, and descriptors beside them.

    A worker uses ``receive``, which waits; main uses ``take``, which never does, so that a worker that stops in the
    middle of a message cannot hold main up.

    Attributes:
        sent: how many messages were written here.
        room: bytes that can be written while the other end does not read; half of what the system says, since messages
            take more than their length there.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._identity = identity(sock.fileno())
        self.sent = 0
        self.room = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2
        self._begun = bytearray()  # of messages that ``take`` has not seen the end of

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.socket.fileno()

    def intact(self) -> bool:
        """Whether it is still open; other code may have closed it, and the number may be another file's by now."""
        return identity(self.socket.fileno()) == self._identity

    def send(self, number: int, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Write one message.

        Args:
            number: the question's, for an answer as well; 0 for what has no answer.
            message: what to say.
            descriptors: what goes along.

        Raises:
            Gone: the other end is closed.
            OSError: the system refuses to send so many descriptors.
        """
        payload = pickle.dumps((number, message), pickle.HIGHEST_PROTOCOL)
        header = _HEADER.pack(len(payload), len(descriptors))
        self.sent += 1
        if descriptors:
            self._send_all(header)
            for first in range(0, len(descriptors), _DESCRIPTORS):
                self._send_descriptors(descriptors[first : first + _DESCRIPTORS])
            header = b""
        self._send_all(header + payload)

    def _send_all(self, data: bytes) -> None:
        try:
            self.socket.sendall(data, QUIETLY)
        except OSError as error:
            raise _told_gone(error) from None

    def _send_descriptors(self, descriptors: Sequence[int]) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        deadline = time.monotonic() + _IN_FLIGHT_SECONDS
        while True:
            try:
                self.socket.sendmsg([b"d"], rights, QUIETLY)
            except OSError as error:
                # Too many on their way to workers that have yet to read them; nothing tells when they have.
                if error.errno != errno.ETOOMANYREFS or time.monotonic() > deadline:
                    raise _told_gone(error) from None
                time.sleep(0.001)
            else:
                return

    def receive(self) -> tuple[int, Any, tuple[int, ...]]:
        """Wait for one message; return its number, the message, and the descriptors that came with it.

        Those are fewer than were sent if this process may not have so many.

        Raises:
            Gone: the other end is closed.
            TimeoutError: nothing came within the socket's time limit.
        """
        size, count = _HEADER.unpack(self._exactly(_HEADER.size))
        descriptors: list[int] = []
        for _ in range(0, count, _DESCRIPTORS):
            try:
                byte, came = receive(self.socket, 1, _DESCRIPTORS)
            except OSError as error:
                raise _told_gone(error) from None
            if not byte:
                raise Gone
            descriptors += came
        number, message = pickle.loads(self._exactly(size))
        return number, message, tuple(descriptors)

    def take(self) -> list[tuple[int, Any]]:
        """The messages that have arrived whole, with their numbers, without waiting for more.

        Raises:
            Gone: the other end is closed, and nothing whole is left to take.
        """
        ended = False
        while True:
            try:
                part = self.socket.recv(_CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as error:
                if not is_gone(error):
                    raise
                part = b""
            if not part:
                ended = True
                break
            self._begun += part
            if len(part) < _CHUNK:
                break
        messages = []
        while len(self._begun) >= _HEADER.size:
            end = _HEADER.size + _HEADER.unpack_from(self._begun)[0]
            if len(self._begun) < end:
                break
            messages.append(pickle.loads(memoryview(self._begun)[_HEADER.size : end]))
            del self._begun[:end]
        if ended and not messages:
            raise Gone
        return messages

    def _exactly(self, size: int) -> bytearray:
        data = bytearray(size)
        left = memoryview(data)
        while left:
            try:
                came = self.socket.recv_into(left)
            except OSError as error:
                raise _told_gone(error) from None
            if not came:
                raise Gone
            left = left[came:]
        return data

    def close(self) -> None:
        """Close this end."""
        close_socket(self.socket, self._identity)


def _told_gone(error: OSError) -> Exception:
    return Gone() if is_gone(error) else error
