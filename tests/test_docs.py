"""The documentation's code: guides whose two sides have to find the same, and pages whose snippets run."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = {"torch": "torch", "grain": "grain", "tfdata": "tensorflow"}

# In an interpreter of their own: other loaders fork it, and may warn of what they like.
THEIRS = """
import json, sys

found = []
for code in json.load(sys.stdin):
    scope = {"__name__": "__guide__"}
    exec(code, scope)
    found.append(scope["found"])
print(json.dumps(found))
"""


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)


def idioms() -> list[Any]:
    found = []
    for guide in GUIDES:
        titles = re.findall(r"^## (.*)$", (DOCS / f"coming_from/{guide}.md").read_text(), re.MULTILINE)
        found += [
            pytest.param(guide, number, ours, id=f"{guide}: {title}")
            for number, (title, ours) in enumerate(zip(titles, blocks(f"coming_from/{guide}")[1::2], strict=False))
        ]
    return found


@functools.cache
def theirs(guide: str) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", THEIRS],
        input=json.dumps(blocks(f"coming_from/{guide}")[::2]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run(code: str) -> Any:
    scope: dict[str, Any] = {"__name__": "__guide__"}
    exec(compile(code, "guide", "exec"), scope)
    if "pipeline" in scope:
        scope["pipeline"].close()
    return json.loads(json.dumps(scope["found"]))


@pytest.mark.parametrize(("guide", "number", "ours"), idioms())
def test_both_sides_of_a_guide_find_the_same(guide: str, number: int, ours: str) -> None:
    found = run(ours)
    if find_spec(GUIDES[guide]) is None:
        pytest.skip(f"ours runs; {GUIDES[guide]} is not installed")
    assert theirs(guide)[number] == found


def test_every_idiom_has_two_sides() -> None:
    assert all(len(blocks(f"coming_from/{guide}")) % 2 == 0 for guide in GUIDES)
    assert len(idioms()) > 15


def test_the_page_on_sources_and_stages_runs(run_script: Callable[..., Any]) -> None:
    run_script("\n".join(blocks("sources_and_stages")))


def test_the_page_on_other_libraries_runs(run_script: Callable[..., Any]) -> None:
    if find_spec("torch") is None:
        pytest.skip("torch is not installed")
    run_script("\n".join(blocks("other_libraries")))
