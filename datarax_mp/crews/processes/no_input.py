"""Standard input in a worker: there is none, and who asks for it is told what to do.

A debugger needs a terminal, and a worker has neither that nor the caller's attention. Left alone, ``input()`` would
raise EOFError and ``breakpoint()`` BdbQuit, neither of which says what is wrong.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, NoReturn


class NoInput(io.TextIOBase):
    """Takes the place of ``sys.stdin``."""

    def readable(self) -> bool:
        """As whoever reads would expect; the error comes with reading."""
        return True

    def read(self, size: int | None = -1, /) -> NoReturn:
        """See ``readline``."""
        raise _no_input()

    def readline(self, size: int = -1, /) -> NoReturn:  # type: ignore[override]
        """What ``input``, ``pdb`` and iteration over lines come to.

        Raises:
            RuntimeError: always; it says where such code can run.
        """
        raise _no_input()


def install() -> None:
    """Have this process raise where it would wait for a terminal."""
    sys.stdin = NoInput()
    sys.breakpointhook = _breakpoint


def _breakpoint(*arguments: Any, **options: Any) -> Any:
    if os.environ.get("PYTHONBREAKPOINT"):  # names a debugger that needs no terminal, or switches them off (PEP 553)
        return sys.__breakpointhook__(*arguments, **options)
    raise RuntimeError(_text("breakpoint()"))


def _no_input() -> RuntimeError:
    return RuntimeError(_text("reading standard input (input(), a debugger)"))


def _text(what: str) -> str:
    return (
        f"{what} needs a terminal, which a worker process does not have. Use num_workers=0: the source and the stages "
        "then run in the calling process, where debuggers and input() work"
    )
