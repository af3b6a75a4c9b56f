"""A worker's main loop: read a message, do it, answer."""

from __future__ import annotations

import mmap
import os
import socket
import sys
from typing import Any

from datarax_mp.workers import board
from datarax_mp.workers.board import HANDLED, PHASE, RECORD, WHOLE_BATCH, Phase
from datarax_mp.workers.errors import RemoteError
from datarax_mp.workers.program import Program
from datarax_mp.workers.protocol import Attach, Channel, Done, Failed, Load, Loaded, Park, Run, Unload, Written
from datarax_mp.workers.shipping import unpack


class _Worker:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.program: Program | None = None
        self.failure: RemoteError | None = None  # why there is no program
        self.memory: mmap.mmap | None = None
        self.slot_bytes = 0

    def handle(self, message: Any, descriptors: tuple[int, ...]) -> None:
        match message:
            case Run():
                self.answer(self.run(message))
            case Load():
                board.here[PHASE] = Phase.LOADING
                self.answer(self.load(message, descriptors))
            case Attach():
                self.attach(message, descriptors[0])
            case Unload():
                self.program = self.memory = None
            case Park():
                self.channel.socket.settimeout(message.seconds)

    def answer(self, answer: Loaded | Done | Failed) -> None:
        board.here[PHASE], board.here[RECORD] = Phase.ANSWERING, WHOLE_BATCH
        self.channel.send(answer)

    def run(self, run: Run) -> Done | Failed:
        if self.program is None:
            assert self.failure is not None
            return Failed(self.failure, Written.nothing())
        return self.program.perform(run, self.memory, self.slot_bytes, _packed)

    def load(self, message: Load, descriptors: tuple[int, ...]) -> Loaded | Failed:
        self.program = self.memory = self.failure = None
        sys.path[:] = message.path
        try:
            os.chdir(message.directory)
            self.program = unpack(message, descriptors)
            return Loaded(self.program.probe() if message.probe else None)
        except Exception as error:
            self.failure = _packed(error)
            return Failed(self.failure, Written.nothing())

    def attach(self, message: Attach, descriptor: int) -> None:
        self.memory = mmap.mmap(descriptor, message.size)
        os.close(descriptor)
        self.slot_bytes = message.slot_bytes
        if self.program is not None:
            self.program.layout = message.layout


def _packed(error: Exception) -> RemoteError:
    error.add_note(f"in worker process {os.getpid()}")
    return RemoteError.of(error)


def serve(sock: socket.socket) -> None:
    """Work until the main process is gone, or until parked for so long that it is time to leave."""
    worker = _Worker(Channel(sock))
    while True:
        try:
            message, descriptors = worker.channel.receive()
            sock.settimeout(None)
            worker.handle(message, descriptors)
        except (EOFError, TimeoutError, ConnectionError):
            return
        board.here[PHASE] = Phase.IDLE
        board.here[HANDLED] += 1
