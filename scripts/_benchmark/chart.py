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
PEER_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#000000", "#999999")
MARKERS = "svD^P<>*Xph"  # with the colours no two systems look alike
STYLES = ("-", "--", ":", "-.")
FONT = 13  # of a picture 1,560 pixels wide: it can be read at half its size


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
    figure, panels = _figure(heights, 0.36)
    for outcome, panel in zip(outcomes, panels, strict=True):
        rows = sorted(_measured(outcome), key=lambda row: row.median("batches_per_s"))
        for place, row in enumerate(rows):
            values = row.values("batches_per_s")
            median = statistics.median(values)
            colour = OURS_COLOUR if row.system.name.startswith(OURS) else PEER_COLOUR
            panel.barh(place, median, color=colour, height=0.7)
            panel.plot([min(values), max(values)], [place, place], color="black", linewidth=1)
            panel.annotate(f" {digits(median)}", (max(values), place), va="center")
        panel.set_yticks(range(len(rows)), [row.system.label for row in rows])
        limit = statistics.median(most["batches_per_s"] for most in outcome.limits)
        panel.axvline(limit, color=LIMIT_COLOUR, linestyle="--")
        how = f"limit, {outcome.limits[0]['how']}: {digits(limit)} "
        panel.annotate(how, (limit, 0), ha="right", va="center", color=LIMIT_COLOUR)
        panel.set_xlim(0, max([limit, *(max(row.values("batches_per_s")) for row in rows)]) * 1.1)
        panel.set_title(f"{outcome.name}: {WORKLOADS[outcome.name].about}", loc="left")
        panel.set_xlabel("batches per second; the lines are the slowest and the fastest round")
    _save(figure, path, conditions)


def utilisations(path: Path, outcomes: Sequence[Outcome], steps: Sequence[float], conditions: str) -> None:
    """A panel for each workload, a line for each system with its rounds' spread, the pass mark across."""
    figure, panels = _figure([max(14, len(_measured(outcome))) for outcome in outcomes], 0.4)
    for outcome, panel in zip(outcomes, panels, strict=True):
        names = [name for name in dict.fromkeys(row.system.name for row in outcome.rows) if name != OURS]
        counts = sorted({row.system.workers for row in outcome.rows})
        for row in _measured(outcome):
            name, place = row.system.name, counts.index(row.system.workers)
            number = -1 if name == OURS else names.index(name)
            colour = OURS_COLOUR if name == OURS else PEER_COLOURS[number % len(PEER_COLOURS)]
            rounds = [[measured["au"][str(step)] for measured in row.rounds] for step in steps]
            look = {"color": colour, "linestyle": STYLES[place % len(STYLES)], "linewidth": 3 if name == OURS else 1.5}
            marker = "o" if name == OURS else MARKERS[number % len(MARKERS)]
            values = list(map(statistics.median, rounds))
            panel.plot(steps, values, **look, marker=marker, markersize=7, label=row.system.label)
            panel.fill_between(steps, list(map(min, rounds)), list(map(max, rounds)), color=colour, alpha=0.12)
        panel.axhline(PASS, color="black", linewidth=1)
        said = f"{PASS:g}: enough, by MLPerf Storage's rule"
        panel.annotate(said, (min(steps), PASS), xytext=(0, 4), textcoords="offset points", va="bottom")
        panel.set_xscale("log")
        panel.set_xticks(list(steps), [f"{step:g}" for step in steps])
        panel.minorticks_off()
        panel.set_ylim(0, 1.02)
        panel.set_xlabel("the device's time for a step, ms")
        panel.set_ylabel("utilisation")
        panel.set_title(f"{outcome.name}: {WORKLOADS[outcome.name].about}", loc="left")
        panel.legend(fontsize=FONT - 2, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5), handlelength=3)
    _save(figure, path, conditions)


def _measured(outcome: Outcome) -> list[Any]:
    return [row for row in outcome.rows if row.trouble is None]


def _figure(heights: Sequence[int], inches: float) -> tuple[Any, list[Any]]:
    import matplotlib  # delayed: only a chart needs it

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams["font.size"] = FONT
    figure, panels = pyplot.subplots(
        len(heights),
        1,
        figsize=(12, 1 + sum(height * inches + 1.2 for height in heights)),
        height_ratios=list(heights),
        squeeze=False,
        layout="constrained",
    )
    for panel in panels[:, 0]:
        panel.spines[["top", "right"]].set_visible(False)
    return figure, list(panels[:, 0])


def _save(figure: Any, path: Path, conditions: str) -> None:
    figure.suptitle(textwrap.fill(conditions, 110), fontsize=FONT - 2)
    figure.savefig(path, dpi=130)
