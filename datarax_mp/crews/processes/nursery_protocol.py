"""What main and a nursery, or a template, say to each other.

    main                                        nursery
    Fork, with a channel's end    ----------->  forks a worker, whose line on the board is as given
                                  <-----------  Started, with the worker's stack pipe and, where there are such, a
                                                pidfd of it; or with an error, if no process could be started
    EndUnlessDone                 ----------->  kills the worker if it is still at that message after a while
    Signal                        ----------->  sends the worker a signal, where main has no pidfd
    Unload                        ----------->  a template forgets its recipe
                                  <-----------  Ended, for every worker that has ended, however it did

Nothing but Fork has an answer, and that is Started for its line. Every message has the same few bytes, so that it goes
as a whole or not at all: main never waits for a nursery that has been stopped, and a nursery that is killed in the
middle of anything leaves no half of a message behind. The end of the connection is said by closing it: a nursery ends
when main does, and main gets another one when the nursery does.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from datarax_mp.core.descriptors import QUIETLY, receive, send

_REQUEST = struct.Struct("<ciqd")
_NOTICE = struct.Struct("<ciii")


class Fork(NamedTuple):
    """Start a worker; its end of the channel to main comes along."""

    line: int


class EndUnlessDone(NamedTuple):
    """Nobody waits for what this worker does: kill it unless it has done message ``upto`` when the time is over."""

    pid: int
    upto: int
    seconds: float


class Signal(NamedTuple):
    """Send a signal, if the number is still that of a worker: the nursery has not reaped it, so it knows."""

    pid: int
    number: int


class Unload(NamedTuple):
    """Forget this recipe."""

    recipe_id: int


class Started(NamedTuple):
    """The worker on this line has been forked; or ``pid`` is -1, and ``error`` says why it has not."""

    line: int
    pid: int
    error: int


class Ended(NamedTuple):
    """A worker has ended; ``status`` is as ``os.waitstatus_to_exitcode`` gives it."""

    pid: int
    status: int


Request: TypeAlias = Fork | EndUnlessDone | Signal | Unload
Notice: TypeAlias = Started | Ended

_REQUESTS: dict[bytes, type[Request]] = {b"F": Fork, b"E": EndUnlessDone, b"S": Signal, b"U": Unload}
_NOTICES: dict[bytes, type[Notice]] = {b"S": Started, b"E": Ended}
_LETTERS = {kind: letter for kinds in (_REQUESTS, _NOTICES) for letter, kind in kinds.items()}

T = TypeVar("T")


def ask(control: socket.socket, request: Request, descriptor: int | None = None) -> None:
    """Main's: send a request, without ever waiting.

    Raises:
        BlockingIOError: the nursery has not read for long.
        OSError: it has ended.
    """
    data = _pack(_REQUEST, request)
    if descriptor is None:
        control.send(data, socket.MSG_DONTWAIT | QUIETLY)
    else:
        send(control, data, [descriptor], socket.MSG_DONTWAIT | QUIETLY)


def next_request(control: socket.socket) -> tuple[Request, list[int]] | None:
    """The nursery's: wait for a request, and what came along; None if main has gone."""
    data, descriptors = receive(control, _REQUEST.size, 1)
    return None if len(data) < _REQUEST.size else (_unpack(_REQUEST, _REQUESTS, data), descriptors)


def tell(control: socket.socket, notice: Notice, descriptors: Sequence[int] = ()) -> None:
    """The nursery's: send a notice, and descriptors beside it."""
    data = _pack(_NOTICE, notice)
    if descriptors:
        socket.send_fds(control, [data], descriptors)
    else:
        control.sendall(data)


def next_notice(control: socket.socket) -> tuple[Notice, list[int]] | None:
    """Main's: a notice, and what came along; None if the nursery has gone.

    Raises:
        BlockingIOError: there is none.
    """
    data, descriptors = receive(control, _NOTICE.size, 2, socket.MSG_DONTWAIT)
    return None if len(data) < _NOTICE.size else (_unpack(_NOTICE, _NOTICES, data), descriptors)


def _pack(form: struct.Struct, message: Request | Notice) -> bytes:
    return form.pack(_LETTERS[type(message)], *(*message, 0, 0)[:3])


def _unpack(form: struct.Struct, kinds: Mapping[bytes, type[T]], data: bytes) -> T:
    letter, *fields = form.unpack(data)
    kind = kinds[letter]
    return kind(*fields[: len(kind._fields)])  # type: ignore[attr-defined]
