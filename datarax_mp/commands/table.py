"""Which commands there are, each with what it is for. A new one is a line here and a module of its name beside this."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Protocol, cast

COMMANDS = {
    "bench": "measure a source or a pipeline with several numbers of workers and threads, and choose among them",
    "diff": "name the first step, record and field in which two ledgers differ",
    "doctor": "say what this machine has and lacks, each line ok or what to do",
    "drill": "compare a pipeline under kills, freezes, resumes and a small /dev/shm with an undisturbed run",
    "show": "print one batch of a pipeline as text, or draw its images",
    "top": "show live what running pipelines of this user do",
}


class Command(Protocol):
    """What the module of a command has. It imports what its work needs when it runs, not before."""

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments that it takes."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Do it and return the exit code; 0 is well.

        Raises:
            Refused: the user has to put something right.
        """
        ...


class Refused(Exception):
    """What the user of a command has to put right: told in one line, without a traceback, with exit code 2."""


def command(name: str) -> Command:
    """The module of a command, imported at need."""
    return cast(Command, import_module(f"datarax_mp.commands.{name}"))
