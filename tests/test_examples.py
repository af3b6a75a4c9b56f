"""The examples, run as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, stdin: bool = False) -> str:
    path = EXAMPLES / name
    with path.open() as script:
        done = subprocess.run(
            [sys.executable, "-" if stdin else str(path), *arguments],
            stdin=script if stdin else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.stdout


def test_train_digits_reaches_97_percent_and_says_how_long_it_waited() -> None:
    out = run("train_digits.py")
    accuracy = re.search(r"held-out accuracy ([\d.]+) %", out)
    assert accuracy is not None, out
    assert float(accuracy[1]) > 97
    assert "waiting for data" in out


def test_photographs_are_decoded_in_workers_by_a_script_on_standard_input() -> None:
    assert "images" in run("decode_photos.py", "--images", "64", stdin=True)


def test_the_idioms_of_the_quick_reference_run() -> None:
    run("quick_reference.py")


def test_text_is_tokenised_and_packed_in_workers_and_a_model_learns_from_it() -> None:
    out = run("train_text.py")
    assert "99.9 % full" in out
    before, after = (float(bits) for bits in re.findall(r"([\d.]+) bits per byte", out))
    assert after < 3.6 < before


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_example_is_run_here(name: str) -> None:
    assert name in Path(__file__).read_text()
