"""Rounds over all systems, and what came out of them."""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _benchmark.systems import OURS, System, systems
from _benchmark.watch import DidNotFinish, Failed, run_child
from _benchmark.workloads import WORKLOADS


@dataclass
class Row:
    """One system at one workload.

    Attributes:
        system: the system.
        rounds: each round's figures.
        check: what the check of its batches gave, if there was one.
        trouble: in a word why there are no figures; None when there are.
        why: the same in a sentence.
    """

    system: System
    rounds: list[dict[str, Any]] = field(default_factory=list)
    check: dict[str, Any] = field(default_factory=dict)
    trouble: str | None = None
    why: str = ""

    def median(self, name: str) -> float:
        """The median of a figure over the rounds."""
        return statistics.median(self.values(name))

    def values(self, name: str) -> list[float]:
        """A figure in each round."""
        return [measured[name] for measured in self.rounds]

    def as_json(self) -> dict[str, Any]:
        """Everything that was measured."""
        shown = ("rounds", "check", "trouble", "why")
        return {"workers": self.system.workers, **{name: getattr(self, name) for name in shown}}


@dataclass
class Outcome:
    """A workload's rows.

    Attributes:
        name: the workload's.
        rows: one for each system.
        limits: what the machine could do in each round.
        count: the workers that systems are compared with.
    """

    name: str
    rows: list[Row]
    count: int
    limits: list[dict[str, Any]] = field(default_factory=list)

    @property
    def reference(self) -> Row | None:
        """Ours, with as many workers as the peers."""
        for row in self.rows:
            if row.system.name == OURS and row.system.workers == self.count and row.trouble is None:
                return row
        return None

    def as_json(self) -> dict[str, Any]:
        """Everything that was measured."""
        return {"limits": self.limits, "systems": {row.system.label: row.as_json() for row in self.rows}}


def rows_for(name: str, options: argparse.Namespace, *, sweep: bool = False) -> list[Row]:
    """The rows of a workload; a system that cannot be measured has its reason in its row."""
    load = WORKLOADS[name]
    rows = []
    for system in systems(options.workers, sweep=sweep):
        if not system.fits(name, load) or not any(part.lower() in system.label.lower() for part in options.systems):
            continue
        refusal = system.refusal()
        rows.append(Row(system, trouble="skipped" if refusal else None, why=refusal or ""))
        if refusal:
            _say(f"{name}: {system.label}: skipped, {refusal}")
    return rows


def measure_rates(options: argparse.Namespace, scratch: Path) -> Iterator[Outcome]:
    """Check every system's batches once, then let the systems take turns; an outcome for each workload."""
    for name in options.workloads:
        outcome = Outcome(name, rows_for(name, options), options.workers)
        for row in outcome.rows:
            _measure(name, row, options, scratch, "check")
        for number in range(options.rounds):
            outcome.limits.append(_limit(name, options, scratch))
            for row in outcome.rows:
                _measure(name, row, options, scratch, "rate", memory=number == 0)
        yield outcome


def _limit(name: str, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    seconds = _most_seconds(name, options.seconds)
    most = run_child(_spec(name, options, scratch, "limit"), limit=options.limit, seconds=2 * seconds, memory=False)
    _say(f"{name}: limit: {most['batches_per_s']:.1f} batches/s, {most['how']}")
    return most


def measure_mode(mode: str, options: argparse.Namespace, scratch: Path) -> Iterator[Outcome]:
    """The rounds of another mode: "au" or "step"."""
    for name in options.workloads:
        outcome = Outcome(name, rows_for(name, options, sweep=mode == "au"), options.workers)
        for _ in range(options.rounds):
            for row in outcome.rows:
                _measure(name, row, options, scratch, mode)
        yield outcome


def _measure(
    name: str, row: Row, options: argparse.Namespace, scratch: Path, mode: str, *, memory: bool = False
) -> None:
    """One system once; what goes wrong is put down in its row, which is left out from then on."""
    if row.trouble is not None:
        return
    spec = {**_spec(name, options, scratch, mode), "system": row.system.label}
    seconds = _most_seconds(name, sum(max(options.seconds, step / 40) for step in options.steps) + options.seconds)
    try:
        result = run_child(spec, limit=options.limit, seconds=seconds, memory=memory)
    except DidNotFinish as error:
        row.trouble, row.why = "did not finish", str(error)
    except Failed as error:
        row.trouble, row.why = "wrong" if "AssertionError" in str(error) else "failed", str(error)
    else:
        if mode == "check":
            row.check = result
        else:
            row.rounds.append(result)
    _say(f"{name}: {row.system.label}: {_summary(mode, row)}")


def _summary(mode: str, row: Row) -> str:
    if row.trouble is not None:
        return f"{row.trouble}: {row.why}"
    if mode == "check":
        return f"{row.check['epochs']} epochs of {row.check['batches']} batches are right"
    show: dict[str, Callable[[dict[str, Any]], str]] = {
        "rate": lambda result: f"{result['batches_per_s']:.1f} batches/s",
        "au": lambda result: ", ".join(f"{step} ms {value:.0%}" for step, value in result["au"].items()),
        "step": lambda result: f"{1e3 * result['alone_s']:.1f} ms alone, {1e3 * result['fed_s']:.1f} ms fed",
    }
    return show[mode](row.rounds[-1])


def _most_seconds(name: str, seconds: float) -> float:
    """How long a measurement may take: a cycle of the stragglers does not end on time."""
    return seconds + (10.0 if WORKLOADS[name].cycle > 1 else 0.0)


def _spec(name: str, options: argparse.Namespace, scratch: Path, mode: str) -> dict[str, Any]:
    return {
        "mode": mode,
        "workload": name,
        "count": options.workers,
        "seconds": options.seconds,
        "steps": options.steps if mode == "au" else [options.step_ms],
        "ahead": options.ahead,
        "prefetch": options.prefetch,
        "folder": str(options.folder) if options.folder else None,
        "scratch": str(scratch),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
