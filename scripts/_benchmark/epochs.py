"""Ways to read the same files whole epochs long: each in a process of its own, the ways in turn, round by round.

A script has ``--one``, by which it is called again for one way: ``main`` sees to that.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from _benchmark.table import conditions, digits, render

Epoch: TypeAlias = Callable[[], Iterable[Any]]
Figures: TypeAlias = dict[str, float]
Way: TypeAlias = tuple[str, int]
"""Its name, and how many workers it has."""

HEADER = ("format", "way", "workers", "records/s", "CPU us a record", "read", "PSS, MB")


def measure(epoch: Epoch, files: Sequence[str], records: int) -> Figures:
    """What the second epoch took, for each record, of all processes."""
    from datarax_mp.monitoring.memory import Sampler

    for _ in epoch():
        pass
    with Sampler(0.5) as sampler:
        (computed, read), start = _used(), time.perf_counter()
        for _ in epoch():
            pass
        seconds, (computed_then, read_then) = time.perf_counter() - start, _used()
    return {
        "rate": records / seconds,
        "cpu": (computed_then - computed) / records * 1e6,
        "read": (read_then - read) / sum(Path(path).stat().st_size for path in files),
        "pss": max(sample.pss for sample in sampler.samples) / 1e6,
    }


def _used() -> tuple[float, int]:
    """CPU seconds of this process and all that it has started, and the bytes that they have read from files."""
    import psutil

    main = psutil.Process()
    every = [main, *main.children(recursive=True)]
    times = [process.cpu_times() for process in every]
    seconds = sum(one.user + one.system + one.children_user + one.children_system for one in times)
    return seconds, sum(one.io_counters().read_chars for one in every)


def rounds(script: str, kind: str, ways: Sequence[Way], folder: str, records: int, count: int) -> dict[Way, Figures]:
    """Measure the ways in turn; returns the medians of each.

    Args:
        script: the file of the script that calls this.
        kind: the format.
        ways: the ways.
        folder: where the files are.
        records: how many there are in them.
        count: how many rounds.

    Raises:
        RuntimeError: a way failed.
    """
    found: dict[Way, list[Figures]] = {way: [] for way in ways}
    for _ in range(count):
        for way, workers in ways:
            command = [sys.executable, script, "--one", kind, way, str(workers), folder, str(records)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{kind}, {way}, {workers} workers: {done.stderr}")
            found[way, workers].append(json.loads(done.stdout.splitlines()[-1]))
    return {way: {key: statistics.median(one[key] for one in each) for key in each[0]} for way, each in found.items()}


def row(kind: str, name: str, workers: int, figures: Figures) -> list[str]:
    """A row below ``HEADER``."""
    rate, cpu, read, pss = (figures[key] for key in ("rate", "cpu", "read", "pss"))
    return [kind, name, str(workers), digits(rate), digits(cpu), f"{read:.2f}", digits(pss)]


def main(
    doc: str | None,
    formats: Collection[str],
    megabytes: float,
    one: Callable[[str, str, int, str, int], Figures],
    rows: Callable[[str, argparse.Namespace], Iterable[list[str]]],
    packages: Sequence[str],
) -> None:
    """Measure and print.

    Args:
        doc: the script's docstring.
        formats: those that can be asked for.
        megabytes: of each format, unless another number is asked for.
        one: measures one way in this process, told format, way, workers, folder and records.
        rows: the table's rows of one format.
        packages: those whose versions are printed.
    """
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--formats", nargs="+", choices=formats, default=list(formats))
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--megabytes", type=float, default=megabytes)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, way, workers, folder, records = options.one
        print(json.dumps(one(kind, way, int(workers), folder, int(records))))
        return
    print(render(HEADER, [row for kind in options.formats for row in rows(kind, options)]))
    print(f"\n{options.megabytes:g} MB each, {options.rounds} rounds, {conditions(*packages)}")
