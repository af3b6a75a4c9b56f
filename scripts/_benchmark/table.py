"""The tables: Markdown, and aligned for those who read them as they are."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from _benchmark.runs import Outcome, Row
from _benchmark.workloads import WORKLOADS

PASS = 0.9  # MLPerf Storage's mark for image workloads

RATES = (
    "workload",
    "system",
    "workers",
    "batches/s (min..max)",
    "samples/s",
    "GB/s",
    "ratio",
    "of limit",
    "p50 µs",
    "p99 µs",
    "CPU s/GB",
    "CPU µs/sample",
    "peak MB",
    "PSS MB",
    "cold ms",
    "warm ms",
)
STEP = ("workload", "system", "workers", "alone ms", "fed ms", "step slower", "loop ms", "loop slower")
TEXT = ("workload", "system")  # columns that are aligned to the left


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns are aligned.

    >>> print(render(("system", "GB/s"), [("ours", "1.5"), ("a long name", "12")]))
    | system      | GB/s |
    | ----------- | ---: |
    | ours        |  1.5 |
    | a long name |   12 |
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        aligned = (
            cell.ljust(width) if name in TEXT else cell.rjust(width)
            for name, cell, width in zip(header, cells, widths, strict=True)
        )
        return f"| {' | '.join(aligned)} |"

    rule = (
        "-" * width if name in TEXT else "-" * (width - 1) + ":" for name, width in zip(header, widths, strict=True)
    )
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])


def digits(value: float) -> str:
    """Three digits that count, and no more behind the point than that takes.

    >>> [digits(value) for value in (12345.6, 123.4, 12.34, 1.234, 0.01234)]
    ['12346', '123', '12.3', '1.23', '0.0123']
    """
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios within each round.

    >>> median_ratio([2, 6, 3], [1, 2, 3])
    2.0
    """
    return statistics.median(mine / other for mine, other in zip(values, others, strict=True))


def conditions(*packages: str) -> str:
    """Cores, load, versions and the day; a package that is not installed is left out."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    backend = os.environ.get("JAX_PLATFORMS", "cpu")
    return (
        f"{cores} cores, load {load:.1f}, JAX on {backend}, {', '.join(found)}, "
        f"Python {platform.python_version()}, {date.today()}"
    )


def rates(outcomes: Sequence[Outcome]) -> str:
    """All workloads in one table, and under it why figures are missing."""
    rows = []
    for outcome in outcomes:
        rows += _rows(RATES, outcome, partial(_rate_cells, outcome))
        rows.append(_limit_cells(outcome, outcome.limits))
        if "in_turns" in outcome.limits[0]:
            rows.append(_limit_cells(outcome, [most["in_turns"] for most in outcome.limits]))
    return "\n".join([render(RATES, rows), *_notes(outcomes)])


def _rate_cells(outcome: Outcome, row: Row) -> list[str]:
    load = WORKLOADS[outcome.name]
    values = row.values("batches_per_s")
    reference = outcome.reference
    size = row.median("bytes_per_s")
    cpu = statistics.median(result["cpu_s"] / result["seconds"] for result in row.rounds)
    samples = row.median("batches_per_s") * load.batch_size
    return [
        _spread(values),
        digits(samples),
        digits(size / 1e9),
        digits(median_ratio(values, reference.values("batches_per_s"))) if reference else "",
        f"{median_ratio(values, [most['batches_per_s'] for most in outcome.limits]):.0%}",
        digits(row.median("wait_p50_us")),
        digits(row.median("wait_p99_us")),
        digits(cpu / (size / 1e9)),
        digits(cpu / samples * 1e6),
        f"{max(row.values('pss_peak')) / 1e6:.0f}",
        f"{max(row.values('pss_warm')) / 1e6:.0f}",
        digits(row.median("cold_s") * 1e3),
        digits(row.check["warm_s"] * 1e3),
    ]


def _limit_cells(outcome: Outcome, most: Sequence[dict[str, Any]]) -> list[str]:
    load = WORKLOADS[outcome.name]
    values = [limit["batches_per_s"] for limit in most]
    size = statistics.median(limit["bytes_per_s"] for limit in most)
    cells = [outcome.name, f"limit: {most[0]['how']}", ""]
    cells += [_spread(values), digits(statistics.median(values) * load.batch_size), digits(size / 1e9)]
    reference = outcome.reference
    cells.append(digits(median_ratio(values, reference.values("batches_per_s"))) if reference else "")
    cells.append(f"{median_ratio(values, [limit['batches_per_s'] for limit in outcome.limits]):.0%}")
    return cells + [""] * (len(RATES) - len(cells))


def utilisations(outcomes: Sequence[Outcome], steps: Sequence[float]) -> str:
    """A column for each length of the step; a tick marks what passes."""
    header = ("workload", "system", "workers", *[f"{step:g} ms" for step in steps])

    def cells(row: Row) -> list[str]:
        values = [statistics.median(measured["au"][str(step)] for measured in row.rounds) for step in steps]
        return [f"{value:.1%} {'✓' if value >= PASS else ' '}" for value in values]

    rows = [line for outcome in outcomes for line in _rows(header, outcome, cells)]
    return "\n".join([render(header, rows), *_notes(outcomes)])


def slowdowns(outcomes: Sequence[Outcome]) -> str:
    """What a step on the CPU loses to the loader beside it."""
    rows = [line for outcome in outcomes for line in _rows(STEP, outcome, _step_cells)]
    return "\n".join([render(STEP, rows), *_notes(outcomes)])


def _step_cells(row: Row) -> list[str]:
    alone = [(measured["alone_s"] + measured["again_s"]) / 2 for measured in row.rounds]
    cells = [digits(statistics.median(alone) * 1e3)]
    for name in ("fed_s", "loop_s"):
        cells += [digits(row.median(name) * 1e3), f"{median_ratio(row.values(name), alone) - 1:+.0%}"]
    return cells


def _rows(header: Sequence[str], outcome: Outcome, cells: Callable[[Row], list[str]]) -> list[list[str]]:
    """A line for each system: its figures, or why there are none."""
    rows = []
    for row in outcome.rows:
        names = [outcome.name, row.system.name, str(row.system.workers)]
        if row.trouble is None:
            rows.append([*names, *cells(row)])
        else:
            rows.append([*names, row.trouble, *["-"] * (len(header) - len(names) - 1)])
    return rows


def _spread(values: Sequence[float]) -> str:
    return f"{digits(statistics.median(values))} ({digits(min(values))}..{digits(max(values))})"


def _notes(outcomes: Sequence[Outcome]) -> list[str]:
    lines = [
        f"{outcome.name}: {row.system.label}: {row.trouble}: {row.why}"
        for outcome in outcomes
        for row in outcome.rows
        if row.trouble is not None
    ]
    return ["", *lines] if lines else []
