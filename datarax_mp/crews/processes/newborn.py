"""What a process that has just been forked does to become a worker, and how it notices that it is left alone."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from datarax_mp.core.descriptors import Identity, close_known, identity
from datarax_mp.crews.processes import groups, no_input, printed
from datarax_mp.crews.processes.forking import Inheritance
from datarax_mp.crews.processes.loop import TemplateDuty, serve
from datarax_mp.recipe.recorder import blank, here

# Makes a worker write its Python stack to its pipe. A real-time signal, because users' code uses the other free ones.
STACK_SIGNAL = signal.SIGRTMAX - 1 if hasattr(signal, "SIGRTMAX") else getattr(signal, "SIGUSR2", 0)

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker gets from the process that forks it.

    Attributes:
        parent: that process.
        lifeline: a pipe whose other end only that process holds: at its end, the process has died.
        line: the worker's on the board.
        cells: those of that line.
        channel: its end of the channel to main.
        stack: where it writes its Python stack.
        inheritance: what it finds in its memory.
    """

    parent: int
    lifeline: int
    line: int
    cells: memoryview
    channel: int
    stack: int
    inheritance: Inheritance


def run_worker(setup: WorkerSetup, become_template: Callable[[WorkerSetup, TemplateDuty], NoReturn]) -> NoReturn:
    """Be a worker, to the end, or until this process is to be a template."""
    status = 1
    try:
        groups.lead()
        name_process(f"w{setup.line}")
        _die_with_parent(setup)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        here.line = setup.cells
        # A crash writes the stack there too, and main shows it; nothing is written to the user's terminal.
        faulthandler.enable(setup.stack)
        if STACK_SIGNAL:
            faulthandler.register(STACK_SIGNAL, setup.stack)
        no_input.install()
        channel = socket.socket(fileno=setup.channel)  # not closed at the end: other code may have done so
        owned = {number: identity(number) for number in (setup.channel, setup.stack, setup.lifeline)}
        os.register_at_fork(after_in_child=partial(_part, owned))
        duty = serve(channel, setup.inheritance)
        if duty is not None:
            channel.close()
            become_template(setup, duty)
        status = 0
    except SystemExit as exit_:
        status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        printed.flush()
        os._exit(status & 0xFF)


def _part(owned: dict[int, Identity]) -> None:
    """In a process that the user's code forks in a worker: let go of what is the worker's.

    That is above all its channel, or main would not read its end when the worker has died.
    """
    here.line = blank()
    faulthandler.unregister(STACK_SIGNAL)
    try:
        faulthandler.enable()
    except (AttributeError, RuntimeError, ValueError, OSError):  # there is no standard error
        faulthandler.disable()
    for descriptor, known in owned.items():
        close_known(descriptor, known)


def name_process(name: str) -> None:
    """What ``top`` and ``ps -o comm`` show; the kernel keeps 15 bytes."""
    _prctl(_PR_SET_NAME, f"datarax_mp {name}".encode()[:15])


def adopt_orphans() -> None:
    """Become the parent of what is left behind by our children's children, where the system does that.

    Process 1 may take its time to reap what has ended, or never do it: in a container it is often the training script.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _die_with_parent(setup: WorkerSetup) -> None:
    # Sent when the thread that forked us ends; the parent has only one.
    if not _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL):
        threading.Thread(target=_watch, args=(setup,), name="datarax_mp watch", daemon=True).start()
    if os.getppid() != setup.parent:
        os._exit(1)


def _watch(setup: WorkerSetup) -> None:
    """Where the kernel does not do it: end this process when its parent or main has died.

    A computation in C that never lets go of the interpreter lock keeps this thread from running; main and the nursery
    kill such a worker by its number.
    """
    poll = select.poll()
    poll.register(setup.lifeline, 0)  # nothing but the other end's close is an event
    poll.register(setup.channel, 0)
    poll.poll()
    os.kill(os.getpid(), signal.SIGKILL)


def _prctl(option: int, argument: bytes | int) -> bool:
    """Whether the system did it; only Linux has the call, and it may be forbidden."""
    try:
        call = ctypes.CDLL(None).prctl
    except (OSError, TypeError, AttributeError):
        return False
    return call(option, argument, 0, 0, 0) == 0
