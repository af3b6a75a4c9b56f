"""Every snippet of the README runs, in order, as one script; and the commands are what CI uses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_every_snippet_runs(run_script: Callable[..., Any]) -> None:
    snippets = blocks("python")
    assert len(snippets) >= 6
    run_script("\n".join(snippets))


def test_the_two_commands_are_what_they_say() -> None:
    run, test = blocks("bash")
    assert "examples/train_digits.py" in run
    assert (ROOT / "examples" / "train_digits.py").exists()
    assert "pytest" in test
    install = test.split("&&")[0].strip()
    assert install in (ROOT / ".ci" / "run").read_text()
