"""How fast a pipeline goes with one setting."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from datarax_mp.monitoring.stats import Stats

if TYPE_CHECKING:
    from datarax_mp.pipeline import Pipeline

Kind: TypeAlias = Literal["processes", "threads"]
"""What is tried: the kinds of workers that this machine has."""

KINDS: tuple[Kind, ...] = get_args(Kind)

_LEAST = 3  # batches beside the first one, however long they take


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """A number of workers, of a kind; they are sorted by what they take."""

    num_workers: int
    workers: Kind = "processes"

    def __str__(self) -> str:
        one = {"processes": "process", "threads": "thread"}[self.workers]
        return f"{self.num_workers} {one if self.num_workers == 1 else self.workers}" if self.num_workers else "none"

    @property
    def arguments(self) -> str:
        """As ``Pipeline`` takes it."""
        kind = f', workers="{self.workers}"' if self.num_workers and self.workers != "processes" else ""
        return f"num_workers={self.num_workers}{kind}"


@dataclass(slots=True)
class Measured:
    """What came of a setting.

    Attributes:
        setting: the setting.
        rates: records per second, once for each visit.
        firsts: seconds until the first batch, likewise.
        stats: the figures of the last visit.
        error: why it cannot be had, or None.
    """

    setting: Setting
    rates: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    stats: Stats = field(default_factory=Stats)
    error: str | None = None

    @property
    def rate(self) -> float:
        """Records per second, of the better visit, since others only slow it down; 0 if it cannot be had."""
        return max(self.rates) if self.rates and self.error is None else 0.0

    @property
    def spread(self) -> float:
        """By which share of it the visits differ."""
        return 1 - min(self.rates) / self.rate if self.rate else 0.0

    @property
    def cores(self) -> float:
        """How many cores main and worker processes used together."""
        stats = self.stats
        makers = stats.workers * stats.busy * stats.computing if self.setting.workers == "processes" else 0.0
        return min(stats.own_cores + makers, float(stats.cores))


def visit(found: Measured, pipeline: Pipeline[Any], seconds: float, step: float) -> None:
    """Run a pipeline for a while, from epoch to epoch, and note how fast it went.

    Args:
        found: where it is noted.
        pipeline: the pipeline, whose workers are as the setting says.
        seconds: for how long, behind the first batch.
        step: seconds that the caller takes for each batch.
    """
    from datarax_mp.pipeline.varied import with_workers

    began = time.perf_counter()
    with with_workers(pipeline, found.setting.num_workers, found.setting.workers) as one:
        first, batches = 0.0, -1
        while not first or time.perf_counter() < first + seconds or batches < _LEAST:
            before = batches
            for _ in one:
                batches += 1
                if not first:
                    first = time.perf_counter()
                elif batches >= _LEAST and time.perf_counter() > first + seconds:
                    break
                if step:
                    time.sleep(step)
            if batches == before:
                raise ValueError("an epoch yields no batch, so there is nothing to measure")
        lasted = time.perf_counter() - first
        found.stats = stats = one.stats()
    rows = stats.rows / stats.batches if stats.batches else 0.0
    found.firsts.append(first - began)
    found.rates.append(batches * rows / lasted)
