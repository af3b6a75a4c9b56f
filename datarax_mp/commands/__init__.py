"""What can be done from a shell: ``python -m datarax_mp COMMAND ...``.

    words of the shell --table.py--> module of the command --arguments, run--> exit code

Exit codes: 0 is well, 1 what the command itself calls a difference or a fault, 2 what the user has to put right.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from datarax_mp.commands.table import COMMANDS, Refused, command


def main(words: Sequence[str]) -> int:
    """Run a command, given as the words behind ``python -m datarax_mp``, and return its exit code.

    Raises:
        SystemExit: the words are wrong, or ask for help.
    """
    parser = argparse.ArgumentParser(prog="python -m datarax_mp")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    of_command = {
        name: commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        for name, purpose in COMMANDS.items()
    }
    if not words or words[0] not in of_command:
        parser.parse_args(words)  # which says what there is, or what is wrong
        parser.error("the first word must be a command")
    chosen = command(words[0])  # only that one is imported
    chosen.arguments(of_command[words[0]])
    # Intermixed, so that options may stand between two words of which one may be missing.
    options = of_command[words[0]].parse_intermixed_args(words[1:])
    try:
        code: int = chosen.run(options)
        sys.stdout.flush()
    except Refused as error:
        print(f"{parser.prog} {words[0]}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _unread():  # it is a pipe of the user's code
            raise
        return 0
    return code


def _unread() -> bool:
    """Whether nobody reads what is printed any more (``| head``); then Python need not try again when it ends."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
