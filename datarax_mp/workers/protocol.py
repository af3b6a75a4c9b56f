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
in the order of the questions; the other messages have no answer.
"""

from __future__ import annotations

import os
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Any, TypeAlias

from datarax_mp.core.spec import Layout
from datarax_mp.workers.errors import RemoteError

_LENGTH = struct.Struct("<I")
_MAX_DESCRIPTORS = 64


@dataclass(frozen=True, slots=True)
class Load:
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


@dataclass(frozen=True, slots=True)
class Attach:
    """Map this ring (its descriptor comes along) and write batches as the layout says."""

    size: int
    slot_bytes: int
    layout: Layout


@dataclass(frozen=True, slots=True)
class Run:
    """Fill ``slot`` with ``steps`` consecutive batches of ``epoch``, from ``step`` on."""

    epoch: int
    step: int
    steps: int
    slot: int


@dataclass(frozen=True, slots=True)
class Park:
    """No pipeline needs you just now: leave after ``seconds`` without a message."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Unload:
    """Forget the program and let go of its memory."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The program is ready; ``layout`` is there if it was asked for."""

    layout: Layout | None


@dataclass(frozen=True, slots=True)
class Done:
    """All batches of a Run are in its slot.

    Attributes:
        seconds: how long it took.
        infos: for each step the pickled info of its records, or None where all fields are arrays.
    """

    seconds: float
    infos: tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """Something was raised. ``infos`` is that of the steps that were complete before it."""

    error: RemoteError
    infos: tuple[bytes | None, ...] = ()


Message: TypeAlias = Load | Attach | Run | Park | Unload | Loaded | Done | Failed


class Channel:
    """One end of a duplex connection: pickled messages with a length before each, and descriptors beside them."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock

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
        if descriptors:
            sent = socket.send_fds(self.socket, [data], list(descriptors))
            data = data[sent:]
        self.socket.sendall(data)

    def receive(self) -> tuple[Any, tuple[int, ...]]:
        """Read one message and the descriptors that came with it.

        Raises:
            EOFError: the other end is gone.
        """
        header, descriptors, _, _ = socket.recv_fds(self.socket, _LENGTH.size, _MAX_DESCRIPTORS)
        header += self._exactly(_LENGTH.size - len(header))
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        return pickle.loads(self._exactly(_LENGTH.unpack(header)[0])), tuple(descriptors)

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
