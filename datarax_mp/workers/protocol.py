"""What main and a worker say to each other, and the channel they say it through.

    main                                   worker
    Load, with descriptors   ------------> unpickles the program
                             <------------ Loaded (with the layout, if asked to probe) | Failed
    Attach, with descriptor  ------------> maps the ring
    Run                      ------------> fills a slot with consecutive batches
                             <------------ Done | Failed
    Park                     ------------> may leave when nothing comes for a while
    Unload                   ------------> forgets program and ring

A channel is one stream socket with one writer and one reader at each end, used synchronously: no thread, no lock and no
queue stands between, so a process that is killed at any instruction leaves nothing locked. Answers to Load and Run come
in the order of the questions; the other messages have no answer. What a worker is at while it is silent stands on the
board (``board``).

Messages are named tuples because those pickle in a third of the time that dataclasses take.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from typing import Any, NamedTuple, TypeAlias

from datarax_mp.core.spec import Layout
from datarax_mp.workers.errors import RemoteError

Shapes: TypeAlias = tuple[tuple[int, ...], ...]

_LENGTH = struct.Struct("<I")
_MAX_DESCRIPTORS = 64
_CHUNK = 1 << 16


class Load(NamedTuple):
    """Unpickle this program; the descriptors of its segments come along.

    Attributes:
        program: the program's number.
        sizes: bytes of each segment; the first holds the pickle and its buffers, the rest belong to the source.
        spans: (start, size) of the pickle in the first segment, then of each buffer.
        probe: whether to answer with the layout of the first record.
        path: the import path.
        directory: the working directory.
    """

    program: int
    sizes: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    probe: bool
    path: tuple[str, ...]
    directory: str


class Attach(NamedTuple):
    """Map this ring (its descriptor comes along) and write batches as the layout says."""

    size: int
    slot_bytes: int
    layout: Layout


class Run(NamedTuple):
    """Fill ``slot`` with ``steps`` consecutive batches of ``epoch``, from ``step`` on."""

    epoch: int
    step: int
    steps: int
    slot: int


class Park(NamedTuple):
    """No pipeline needs you just now: leave after ``seconds`` without a message."""

    seconds: float


class Unload(NamedTuple):
    """Forget the program and let go of its memory."""


class Loaded(NamedTuple):
    """The program is ready; ``layout`` is there if it was asked for."""

    layout: Layout | None


class Skip(NamedTuple):
    """A record that was left out of its batch because something was raised for it.

    Attributes:
        record: its number.
        row: its place in the batch it is missing from.
        reason: what was raised, with its notes.
    """

    record: int
    row: int
    reason: str


class Written(NamedTuple):
    """What comes of a run beside the arrays, for the steps that are complete.

    Attributes:
        infos: for each step the pickled info of its records, or None where all fields are arrays.
        skips: by place in the run, what was skipped there; places without skips are not in it.
        shapes: by place in the run, the shape of each field's rows there, in the layout's order; places where all are
            as the layout says are not in it.
    """

    infos: list[bytes | None]
    skips: dict[int, tuple[Skip, ...]]
    shapes: dict[int, Shapes]

    @classmethod
    def nothing(cls) -> Written:
        """What there is before the first step."""
        return cls([], {}, {})


class Done(NamedTuple):
    """All batches of a Run are in its slot; it took ``seconds``."""

    seconds: float
    written: Written


class Failed(NamedTuple):
    """Something was raised, after the steps that are ``written``."""

    error: RemoteError
    written: Written


Message: TypeAlias = Load | Attach | Run | Park | Unload | Loaded | Done | Failed


class Channel:
    """One end of a duplex connection: pickled messages with a length before each, and descriptors beside them.

    A worker uses ``receive``, which waits; main uses ``take``, which never does, so that a worker that stops in the
    middle of a message cannot hold main up.

    Attributes:
        sent: how many messages were written here.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.sent = 0
        self._begun = bytearray()  # of messages that ``take`` has not seen the end of

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self.socket.fileno()

    def send(self, message: Message, descriptors: tuple[int, ...] = ()) -> None:
        """Write one message.

        Raises:
            OSError: the other end is gone.
        """
        payload = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        data = _LENGTH.pack(len(payload)) + payload
        self.sent += 1
        if descriptors:
            sent = socket.send_fds(self.socket, [data], list(descriptors))
            data = data[sent:]
        self.socket.sendall(data)

    def receive(self) -> tuple[Any, tuple[int, ...]]:
        """Wait for one message; return it and the descriptors that came with it.

        Raises:
            EOFError: the other end is gone.
            TimeoutError: nothing came within the socket's time limit.
        """
        header, descriptors, _, _ = socket.recv_fds(self.socket, _LENGTH.size, _MAX_DESCRIPTORS)
        header += self._exactly(_LENGTH.size - len(header))
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return pickle.loads(self._exactly(_LENGTH.unpack(header)[0])), tuple(descriptors)

    def take(self) -> list[Any]:
        """The messages that have arrived whole, without waiting for more.

        Raises:
            EOFError: the other end is gone, and nothing whole is left to take.
        """
        ended = False
        while True:
            try:
                part = self.socket.recv(_CHUNK, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except ConnectionError:
                part = b""
            if not part:
                ended = True
                break
            self._begun += part
            if len(part) < _CHUNK:
                break
        messages = []
        while len(self._begun) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._begun)[0]
            if len(self._begun) < end:
                break
            messages.append(pickle.loads(self._begun[_LENGTH.size : end]))
            del self._begun[:end]
        if ended and not messages:
            raise EOFError("the other end of the channel is gone")
        return messages

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise EOFError("the other end of the channel is gone")
            data += part
        return data

    def close(self) -> None:
        """Close this end."""
        self.socket.close()
