"""What workers log arrives in main's handlers, under the same loggers' names.

    worker                                               main
    logger.warning(...)                                  logger.handle(record)
      level and filters of the logger there                level of the logger of that name, its filters and handlers
      --> one datagram, never waiting ------------------>  read where answers are read (``crew``), before them

A datagram arrives whole or not at all, and what was sent before a worker died arrives. The socket holds some hundred
records; those that it has no room for wait in the worker, up to ``_MOST_WAITING``, and beyond that they are counted and
the next record that arrives says how many are missing. Neither side ever waits for the other.

Handlers that a worker's copy of a module sets up when it is imported are left alone, since main has the same ones;
those that ``worker_init`` sets up are the worker's own, and get its records too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from datarax_mp.core.descriptors import Identity, close_socket, connection, identity
from datarax_mp.core.exits import Turn, at_exit
from datarax_mp.core.refusals import is_refusal
from datarax_mp.core.strays import is_from_handler

_MOST_WAITING = 1000
_ROOM = 1 << 20  # bytes in the socket; the system may allow less
_MOST_BYTES = 32_000  # of a record; the rest of a longer text is cut off

_PLAIN = (str, int, float, bool, type(None))


class Levels(NamedTuple):
    """Which records the log takes.

    Attributes:
        by_logger: the level of each logger that has one of its own; "root" is the root's.
        disabled: loggers that are switched off.
        disable: the level of ``logging.disable``.
    """

    by_logger: dict[str, int]
    disabled: frozenset[str]
    disable: int

    @classmethod
    def here(cls) -> Levels:
        """Those of this process."""
        loggers = list(_loggers())
        return cls(
            {name: logger.level for name, logger in loggers if logger.level},
            frozenset(name for name, logger in loggers if logger.disabled),
            logging.root.manager.disable,
        )

    def apply(self) -> None:
        """Make them this process's."""
        logging.disable(self.disable)
        known = dict(_loggers())
        for name in known.keys() | self.by_logger.keys() | self.disabled:
            logger = known.get(name) or logging.getLogger(name)
            if logger.level != (level := self.by_logger.get(name, logging.NOTSET)):
                logger.setLevel(level)
            logger.disabled = name in self.disabled


def _loggers() -> Iterator[tuple[str, logging.Logger]]:
    yield "root", logging.root
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            yield name, logger


# ---------------------------------------------------------------------------------------------------- in the worker


class _Outbox:
    """Sends records to main.

    Any thread may log, and a signal handler or a finalizer in the middle of anything here, in the thread that holds the
    lock: so a record is out of what waits before it is sent, and can be sent once only. Nothing of the user's is called
    under the lock.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self._known = identity(descriptor)
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        self._lock = threading.RLock()

    def close(self) -> None:
        """Let go of the descriptor, if it still is ours."""
        with self._lock:
            close_socket(self._socket, self._known)

    def begin_anew(self) -> None:
        """In a process that was just forked: what waits is the other one's to send, whose threads may hold the lock."""
        self._waiting.clear()
        self._lost = 0
        self._lock = threading.RLock()

    def put(self, record: logging.LogRecord) -> None:
        """Send a record, or keep it until there is room."""
        packed = _packed(record) if len(self._waiting) < _MOST_WAITING else None
        with self._lock:
            if packed is None:
                self._lost += 1
            else:
                self._waiting.append(packed)
            self.flush()

    def waiting(self) -> bool:
        """Whether there was no room for something."""
        return bool(self._waiting)

    def fileno(self) -> int:
        """What can be written to when there is room."""
        return self._socket.fileno()

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        if not self._waiting:
            return  # as before most answers
        with self._lock:
            while self._send_first():
                if self._lost and not self._waiting:
                    self._tell_lost()

    def _send_first(self) -> bool:
        """Whether there was a record, and room for it; otherwise it waits again, in front."""
        try:
            packed = self._waiting.popleft()
        except IndexError:  # a handler was quicker
            return False
        try:
            self._socket.send(packed)
        except BlockingIOError:
            self._waiting.appendleft(packed)
            return False
        except OSError as error:  # main is gone, or the user's code has closed what it did not open
            if not is_refusal(error):
                raise
            self._waiting.clear()
            return False
        return True

    def _tell_lost(self) -> None:
        lost, self._lost = self._lost, 0
        text = f"{lost} log records of this worker are missing: they came faster than main could take them"
        record = logging.makeLogRecord({"name": "datarax_mp", "levelno": logging.WARNING, "msg": text})
        record.levelname = "WARNING"
        self._waiting.append(_packed(record))


_outbox: _Outbox | None = None
_own: list[logging.Handler] = []  # those that worker_init has set up


def send_to(descriptor: int) -> None:
    """From now on, this process's log is main's."""
    global _outbox
    before, _outbox = _outbox, _Outbox(descriptor)
    if before is not None:  # one that was inherited of a template, or that main cannot read any more
        before.close()
    logging.Logger.callHandlers = _forward  # type: ignore[method-assign, assignment]


def _begin_anew() -> None:
    if _outbox is not None:
        _outbox.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)  # also what the user's code forks in a worker logs to main


def flush() -> None:
    """Before an answer: send what there was no room for."""
    if _outbox is not None:
        _outbox.flush()


def flush_until(sock: socket.socket) -> None:
    """Send what there was no room for, for as long as nothing is to be read from a socket."""
    while _outbox is not None and _outbox.waiting():
        readable, _, _ = select.select([sock], [_outbox.fileno()], [], sock.gettimeout())
        if readable:
            return
        _outbox.flush()


@contextlib.contextmanager
def setting_up() -> Iterator[None]:
    """Inside, handlers that are added are this process's own."""
    before = {id(handler) for handler in _handlers()}
    try:
        yield
    finally:
        _own.extend(handler for handler in _handlers() if id(handler) not in before)


def _handlers() -> list[logging.Handler]:
    return [handler for _, logger in _loggers() for handler in logger.handlers]


def _forward(logger: logging.Logger, record: logging.LogRecord) -> None:
    if _outbox is not None:
        _outbox.put(record)
    at: logging.Logger | None = logger
    while at is not None and _own:
        for handler in at.handlers:
            if handler in _own and record.levelno >= handler.level:
                handler.handle(record)
        at = at.parent if at.propagate else None


def _packed(record: logging.LogRecord) -> bytes:
    values = dict(vars(record))
    try:
        values["msg"] = record.getMessage()
    except Exception as error:  # as a handler would find it
        values["msg"] = f"{record.msg!r} % {record.args!r}: {error}"
    values["args"] = None
    if record.exc_info and not record.exc_text:
        values["exc_text"] = logging.Formatter().formatException(record.exc_info)
    values["exc_info"] = None
    plain = {name: value if isinstance(value, _PLAIN) else repr(value) for name, value in values.items()}
    packed = pickle.dumps(plain)
    if len(packed) > _MOST_BYTES:
        for name, value in plain.items():
            if isinstance(value, str) and len(value) > _MOST_BYTES // 16:
                plain[name] = f"{value[: _MOST_BYTES // 16]}... ({len(value)} characters)"
        packed = pickle.dumps(plain)
    return packed


# ------------------------------------------------------------------------------------------------------------ in main


class Inbox:
    """Takes the records of all workers. Use ``inbox()`` to get it."""

    def __init__(self) -> None:
        self._ours, self._theirs = connection(socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        self._theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM)
        self._process = os.getpid()
        self._known: list[Identity] = [identity(end.fileno()) for end in (self._ours, self._theirs)]

    def intact(self) -> bool:
        """Whether it can be used: it belongs to this process, and no other code has closed its descriptors."""
        ends = (self._ours, self._theirs)
        return self._process == os.getpid() and [identity(end.fileno()) for end in ends] == self._known

    def close(self) -> None:
        """Let go of its descriptors, as far as they still are its own."""
        for end, known in zip((self._ours, self._theirs), self._known, strict=True):
            close_socket(end, known)

    def fileno(self) -> int:
        """What becomes readable when a record arrives."""
        return self._ours.fileno()

    @property
    def address(self) -> int:
        """The descriptor that workers send to."""
        return self._theirs.fileno()

    def empty(self) -> None:
        """Hand what has arrived to the loggers."""
        while True:
            try:
                packed = self._ours.recv(1 << 17)
            except OSError as error:
                if not is_refusal(error):
                    raise
                return  # nothing is left; or other code has closed it
            record = logging.makeLogRecord(pickle.loads(packed))
            logger = logging.getLogger(None if record.name == "root" else record.name)
            if logger.isEnabledFor(record.levelno):
                try:
                    logger.handle(record)
                except Exception:  # a filter of the user's; as logging does it with handlers
                    if is_from_handler():
                        raise
                    logging.Handler().handleError(record)


_inbox: Inbox | None = None


def inbox() -> Inbox:
    """The inbox of this process."""
    global _inbox
    if _inbox is None or not _inbox.intact():
        if _inbox is not None:
            _inbox.close()
        _inbox = Inbox()
    return _inbox


@at_exit(Turn.LOGS)
def _close_at_exit() -> None:
    if _inbox is not None:
        if _inbox.intact():
            _inbox.empty()
        _inbox.close()
