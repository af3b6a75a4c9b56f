"""What is closed when the interpreter ends, and in which order."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

CODE = """
from datarax_mp.core.exits import Turn, at_exit

def closing(turn):
    @at_exit(turn)
    def close():
        print(turn.name, flush=True)
        if turn is Turn.ITERATORS:
            raise OSError("cannot be closed")

for turn in {order}:
    closing(Turn(turn))
"""


def closed(run_script: Callable[..., subprocess.CompletedProcess[str]], order: list[int]) -> list[str]:
    done = run_script(CODE.format(order=order), check=False)
    assert "OSError: cannot be closed" in done.stderr
    return done.stdout.split()


def test_who_uses_others_is_closed_first_whatever_was_registered_first(
    run_script: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    assert closed(run_script, [0, 1, 2]) == closed(run_script, [2, 1, 0]) == ["ITERATORS", "WORKERS", "LOGS"]
