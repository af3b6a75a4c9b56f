"""A worker's main loop: read a message, do it, answer."""

from __future__ import annotations

import contextlib
import errno
import gc
import mmap
import os
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any, NoReturn

from datarax_mp.core.edits import forget_edited, users_files
from datarax_mp.core.errors import EXITS, RemoteError
from datarax_mp.core.notes import add_note
from datarax_mp.core.refusals import note_shortage
from datarax_mp.core.strays import accept_all
from datarax_mp.crews import info
from datarax_mp.crews.processes import logs, printed
from datarax_mp.crews.processes.environment import Environment
from datarax_mp.crews.processes.forking import Inheritance, fitness, open_files, still_open
from datarax_mp.crews.processes.protocol import (
    Attach,
    BecomeTemplate,
    Channel,
    Configure,
    Gone,
    Loaded,
    OnShelf,
    Park,
    Unload,
)
from datarax_mp.crews.processes.shelf import Shelf, write
from datarax_mp.recipe import randomness, worker_init
from datarax_mp.recipe.executor import Executor
from datarax_mp.recipe.lane_executor import executor_of
from datarax_mp.recipe.recorder import Phase, here
from datarax_mp.recipe.watch import watch
from datarax_mp.recipe.work import Done, Failed, ReadBlock, Run, Shelved, Written
from datarax_mp.ring import Segment, SharedMemoryError
from datarax_mp.shipping.arrival import unpack
from datarax_mp.shipping.load import Load

_NOTHING = Written.nothing()
_TOO_FEW = "the source and the stages lie in {} pieces of shared memory, and this process may open only {} (ulimit -n)"


@dataclass(frozen=True, slots=True)
class TemplateDuty:
    """What a worker needs to be a template.

    Attributes:
        control: the descriptor that it is asked for workers through.
        seconds: how long it stays without any.
        inheritance: what its workers find.
    """

    control: int
    seconds: float
    inheritance: Inheritance


class _Worker:
    def __init__(self, channel: Channel, inheritance: Inheritance) -> None:
        self.channel = channel
        self.inheritance = inheritance
        self.pid = os.getpid()
        self.executor: Executor | None = None
        self.failure: RemoteError | None = None  # why there is no recipe, or no memory
        self.environment: Environment | None = None
        self.misconfigured: RemoteError | None = None  # why main's environment is not ours
        self.memory: mmap.mmap | None = None
        self.slot_bytes = 0
        self.shelf = Shelf()
        self.duty: TemplateDuty | None = None

    def handle(self, number: int, message: Any, descriptors: tuple[int, ...]) -> None:
        match message:
            case Run():
                self.answer(number, self.run(message))
            case ReadBlock():
                self.answer(number, self.read_block(message, descriptors))
            case OnShelf():
                self.shelf.change(message, descriptors)
            case Configure():
                self.configure(message, descriptors)
            case Load():
                here.phase(Phase.LOADING)
                self.answer(number, self.load(message, descriptors))
            case Attach():
                self.attach(message, descriptors[0])
            case BecomeTemplate():
                self.duty = TemplateDuty(descriptors[0], message.seconds, self.inheritance)
            case Unload():
                self.forget()
            case Park():
                self.channel.socket.settimeout(message.seconds)

    def configure(self, message: Configure, descriptors: tuple[int, ...]) -> None:
        self.misconfigured = None
        info.become(message.worker)
        try:
            if descriptors:
                logs.send_to(descriptors[0])
            self.environment = message.environment
            message.environment.apply()
        except EXITS:
            raise
        except BaseException as error:
            self.misconfigured = _packed(error)

    def answer(self, number: int, answer: Loaded | Done | Shelved | Failed) -> None:
        if os.getpid() != self.pid:
            self.end_twin()
        here.phase(Phase.ANSWERING)
        logs.flush()
        printed.flush()
        if isinstance(answer, Done) and answer.timed is not None:
            began = time.perf_counter()
            self.channel.send(number, answer)
            watch.sent = time.perf_counter() - began
        else:
            self.channel.send(number, answer)

    def end_twin(self) -> NoReturn:
        """The user's code forked and came back in both processes; only one of them is the worker."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            print(
                f"datarax_mp: process {os.getpid()} was forked by the source or a stage in worker process {self.pid} "
                "and came back out of it; it ends here (call os._exit in such a process)",
                file=sys.stderr,
                flush=True,
            )
        os._exit(1)

    def run(self, run: Run) -> Done | Failed:
        failure = self.misconfigured or (self.failure if self.executor is None or self.memory is None else None)
        if failure is not None:
            return Failed(failure, _NOTHING)
        assert self.executor is not None
        return self.executor.perform(run, self.memory, self.slot_bytes, _packed, self.shelf.of(run.epoch))

    def read_block(self, reading: ReadBlock, descriptors: tuple[int, ...]) -> Shelved | Failed:
        if not descriptors:
            return Failed(_packed(OSError(errno.EMFILE, "this process may open no more files (ulimit -n)")), _NOTHING)
        file = Segment(descriptors[0], 0)
        try:
            failure = self.misconfigured or (self.failure if self.executor is None else None)
            if failure is not None:
                return Failed(failure, _NOTHING)
            assert self.executor is not None
            return self.executor.read_block(reading, _packed, lambda block: write(block, file))
        finally:
            file.close()

    def load(self, message: Load, descriptors: tuple[int, ...]) -> Loaded | Failed:
        recipe = self.inheritance.take(message.recipe_id)
        if recipe is None:
            self.forget()
        if self.misconfigured is not None:
            return Failed(self.misconfigured, _NOTHING)
        try:
            if len(descriptors) < len(message.sizes):
                raise OSError(errno.EMFILE, _TOO_FEW.format(len(message.sizes), len(descriptors)))
            randomness.seed_globals(0, 0, 0)  # nothing is left of another recipe's numbers
            if recipe is None:
                forget_edited()
            if message.template:
                return self.load_for_others(message, descriptors)
            if recipe is None:
                recipe = unpack(message, descriptors)
            else:
                for descriptor in descriptors:
                    os.close(descriptor)
            self.executor = executor_of(recipe)
            if self.environment is not None:
                self.environment.apply_filters()
            return Loaded(None if message.probe is None else self.executor.probe(message.probe))
        except EXITS:
            raise
        except BaseException as error:
            note_shortage(error)
            self.failure = _packed(error)
            return Failed(self.failure, _NOTHING)

    def load_for_others(self, message: Load, descriptors: tuple[int, ...]) -> Loaded:
        """Load a recipe for the workers that will be forked of this process; nothing of it is run here."""
        before = open_files()
        memory = frozenset(before[descriptor] for descriptor in descriptors if descriptor in before)
        recipe = unpack(message, descriptors)
        if still_open(before, memory):
            recipe = None  # every worker has to open them for itself
            gc.collect()
        users_files()  # for all its workers
        self.inheritance = Inheritance(message.recipe_id, recipe, memory)
        return Loaded(None, fitness(before, memory, inherits=recipe is not None))

    def forget(self) -> None:
        """Let go of the recipe and its memory."""
        if self.executor is not None:
            self.executor.user_code.leave()
        self.executor = self.memory = self.failure = None
        self.shelf = Shelf()
        self.inheritance.let_go()

    def attach(self, message: Attach, descriptor: int) -> None:
        segment = Segment(descriptor, message.size)
        try:
            self.memory = segment.map()
        except SharedMemoryError as error:  # the limit of its address space, say: every run will say so
            self.memory, self.failure = None, _packed(error)
            return
        finally:
            segment.close()
        if hasattr(mmap, "MADV_DONTFORK"):
            # A process that the user's code forks here must not write to a slot, which may be a batch by then.
            self.memory.madvise(mmap.MADV_DONTFORK)
        self.slot_bytes = message.slot_bytes
        if self.executor is not None:
            self.executor.settle(message.layouts)


def _packed(error: BaseException) -> RemoteError:
    add_note(error, f"in worker process {os.getpid()}")
    return RemoteError.of(error)


def serve(sock: socket.socket, inheritance: Inheritance) -> TemplateDuty | None:
    """Work until the main process is gone, or until parked for so long that it is time to leave.

    Returns:
        What there is to do now, if this process is to be a template from now on.
    """
    accept_all()
    worker_init.around = logs.setting_up
    worker = _Worker(Channel(sock), inheritance)
    while worker.duty is None:
        logs.flush_until(sock)
        try:
            number, message, descriptors = worker.channel.receive()
        except (Gone, TimeoutError):
            worker.forget()
            return None
        sock.settimeout(None)
        try:
            worker.handle(number, message, descriptors)
        except Gone:
            return None
        here.handled()
    return worker.duty
