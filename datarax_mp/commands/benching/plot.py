"""The picture of what was measured: records per second over the number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datarax_mp.commands.benching.measured import KINDS, Measured
from datarax_mp.commands.table import Refused

_STYLES = {"processes": ("o-", "C0"), "threads": ("s--", "C1")}


def drawable() -> None:
    """Make sure that there is what draws.

    Raises:
        ImportError: matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'drawing needs matplotlib: pip install "datarax-mp[monitoring]"', name="matplotlib"
        ) from error


def draw(found: Sequence[Measured], best: Measured, title: str, path: str, most: float | None) -> None:
    """Draw it to a file.

    Args:
        found: what was measured, that without workers first.
        best: the one that is chosen.
        title: what it was measured of.
        path: the file; its ending says which kind.
        most: records per second that the caller's step can take, or None.

    Raises:
        Refused: the file cannot be written.
        ImportError: matplotlib is missing.
    """
    drawable()
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    numbers = sorted({one.setting.num_workers for one in found})  # side by side: 0, 1 and 2 as far apart as 32 and 64
    places = {number: place for place, number in enumerate(numbers)}
    alone, cores = found[0], best.stats.cores
    for workers in KINDS:
        line = [one for one in found if one.rate and one is not alone and one.setting.workers == workers]
        if line:
            fmt, colour = _STYLES[workers]
            at = [places[one.setting.num_workers] for one in line]
            axes.plot([places[0], at[0]], [alone.rate, line[0].rate], linestyle=fmt[1:], color=colour)
            rates = [one.rate for one in line]
            spread = [[one.rate - min(one.rates) for one in line], [0.0] * len(line)]
            axes.errorbar(at, rates, spread, fmt=fmt, color=colour, capsize=4, label=f"worker {workers}")
    spread = [[alone.rate - min(alone.rates)], [0.0]]
    axes.errorbar([places[0]], [alone.rate], spread, fmt="D", color="black", capsize=4, label="num_workers=0")
    ring: dict[str, Any] = {
        "markersize": 16,
        "fillstyle": "none",
        "markeredgewidth": 2,
        "linestyle": "none",
        "color": "C2",
    }
    axes.plot([places[best.setting.num_workers]], [best.rate], "o", label=f"chosen: {best.setting}", **ring)
    if most is not None:
        axes.axhline(most, color="grey", linestyle=":", label="what your step can take")
    axes.set_xticks(
        list(places.values()), [f"{number}\n(cores)" if number == cores else str(number) for number in places]
    )
    axes.set(xlabel="workers", ylabel="records/s; bars down to the slower of two runs", title=title)
    axes.set_ylim(0, 1.08 * max(*(one.rate for one in found), most or 0.0))
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise Refused(f"{path} cannot be written: {error}") from None
