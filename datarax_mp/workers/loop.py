"""A worker's main loop: read a message, do it, answer."""

from __future__ import annotations

import mmap
import os
import socket
import sys
import time
from typing import Any

from datarax_mp.workers.errors import RemoteError
from datarax_mp.workers.program import Program
from datarax_mp.workers.protocol import Attach, Channel, Done, Failed, Load, Loaded, Park, Run, Unload
from datarax_mp.workers.shipping import unpack


class _Worker:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.program: Program | None = None
        self.memory: mmap.mmap | None = None
        self.slot_bytes = 0

    def handle(self, message: Any, descriptors: tuple[int, ...]) -> None:
        match message:
            case Run():
                self.channel.send(self.run(message))
            case Load():
                self.channel.send(self.load(message, descriptors))
            case Attach():
                self.attach(message, descriptors[0])
            case Unload():
                self.program = self.memory = None
            case Park():
                self.channel.socket.settimeout(message.seconds)

    def run(self, run: Run) -> Done | Failed:
        began = time.perf_counter()
        try:
            if self.program is None:
                raise RuntimeError("the program could not be loaded")
            infos = self.program.write(self.memory, run.slot * self.slot_bytes, run.epoch, run.step, run.steps)
        except Exception as error:
            completed = error.__dict__.pop("completed_infos", ())
            error.add_note(f"in worker process {os.getpid()}")
            return Failed(RemoteError.of(error), completed)
        return Done(time.perf_counter() - began, infos)

    def load(self, message: Load, descriptors: tuple[int, ...]) -> Loaded | Failed:
        self.program = self.memory = None
        sys.path[:] = message.path
        try:
            os.chdir(message.directory)
            self.program = unpack(message, descriptors)
            return Loaded(self.program.probe() if message.probe else None)
        except Exception as error:
            error.add_note(f"in worker process {os.getpid()}")
            return Failed(RemoteError.of(error))

    def attach(self, message: Attach, descriptor: int) -> None:
        self.memory = mmap.mmap(descriptor, message.size)
        os.close(descriptor)
        self.slot_bytes = message.slot_bytes
        if self.program is not None:
            self.program.layout = message.layout


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
