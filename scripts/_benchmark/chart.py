"""The results as a picture."""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _benchmark.runs import Outcome
from _benchmark.systems import OURS
from _benchmark.table import PASS, digits
from _benchmark.workloads import WORKLOADS

OURS_COLOUR, PEER_COLOUR, LIMIT_COLOUR = "#0072B2", "#999999", "#D55E00"  # Okabe and Ito, for all kinds of eyes
PEER_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#000000", "#999999", "#F0E442")
STYLES = ("-", "--", ":", "-.")


def require_matplotlib() -> None:
    """Make sure that a chart can be drawn, before anything is measured.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise SystemExit('--chart needs matplotlib, which is not installed: pip install "datarax-mp[bench]"') from None


def rates(path: Path, outcomes: Sequence[Outcome], conditions: str) -> None:
    """A panel for each workload, a bar for each system, from the slowest to the fastest round a whisker."""
    heights = [1 + len(_measured(outcome)) for outcome in outcomes]
    figure, panels = _figure(heights, 0.26)
    for outcome, panel in zip(outcomes, panels, strict=True):
        rows = sorted(_measured(outcome), key=lambda row: row.median("batches_per_s"))
        for place, row in enumerate(rows):
            values = row.values("batches_per_s")
            median = statistics.median(values)
            colour = OURS_COLOUR if row.system.name.startswith(OURS) else PEER_COLOUR
            panel.barh(place, median, color=colour, height=0.7)
            panel.plot([min(values), max(values)], [place, place], color="black", linewidth=1)
            panel.annotate(f" {digits(median)}", (max(values), place), va="center", fontsize=8)
        panel.set_yticks(range(len(rows)), [row.system.label for row in rows], fontsize=8)
        limit = statistics.median(most["batches_per_s"] for most in outcome.limits)
        panel.axvline(limit, color=LIMIT_COLOUR, linestyle="--")
        how = f"limit, {outcome.limits[0]['how']}: {digits(limit)} "
        panel.annotate(how, (limit, 0), ha="right", va="center", fontsize=8, color=LIMIT_COLOUR)
        panel.set_xlim(0, max([limit, *(max(row.values("batches_per_s")) for row in rows)]) * 1.1)
        panel.tick_params(axis="x", labelsize=8)
        panel.set_title(f"{outcome.name}: {WORKLOADS[outcome.name].about}", fontsize=10, loc="left")
        panel.set_xlabel("batches per second", fontsize=8)
    _save(figure, path, conditions)


def utilisations(path: Path, outcomes: Sequence[Outcome], steps: Sequence[float], conditions: str) -> None:
    """A panel for each workload, a line for each system, the pass mark across."""
    figure, panels = _figure([12] * len(outcomes), 0.4)
    for outcome, panel in zip(outcomes, panels, strict=True):
        names = [name for name in dict.fromkeys(row.system.name for row in outcome.rows) if name != OURS]
        counts = sorted({row.system.workers for row in outcome.rows})
        for row in _measured(outcome):
            name, place = row.system.name, counts.index(row.system.workers)
            colour = OURS_COLOUR if name == OURS else PEER_COLOURS[names.index(name) % len(PEER_COLOURS)]
            values = [statistics.median(measured["au"][str(step)] for measured in row.rounds) for step in steps]
            width = 2.2 if name == OURS else 1.1
            style = STYLES[place % len(STYLES)]
            panel.plot(steps, values, color=colour, linestyle=style, linewidth=width, label=row.system.label)
        panel.axhline(PASS, color="black", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_xticks(list(steps), [f"{step:g}" for step in steps])
        panel.set_ylim(0, 1.02)
        panel.set_xlabel("the device's time for a step, ms", fontsize=8)
        panel.set_ylabel("utilisation", fontsize=8)
        panel.set_title(f"{outcome.name}: {WORKLOADS[outcome.name].about}", fontsize=10, loc="left")
        panel.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    _save(figure, path, conditions)


def _measured(outcome: Outcome) -> list[Any]:
    return [row for row in outcome.rows if row.trouble is None]


def _figure(heights: Sequence[int], inches: float) -> tuple[Any, list[Any]]:
    import matplotlib  # delayed: only a chart needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        len(heights),
        1,
        figsize=(10, 1 + sum(height * inches + 0.8 for height in heights)),
        height_ratios=list(heights),
        squeeze=False,
        layout="constrained",
    )
    for panel in panels[:, 0]:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, list(panels[:, 0])


def _save(figure: Any, path: Path, conditions: str) -> None:
    figure.suptitle(textwrap.fill(conditions, 110), fontsize=8)
    figure.savefig(path, dpi=130)
