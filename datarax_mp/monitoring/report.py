"""Where a pipeline's time goes, in words."""

from __future__ import annotations

import sys
from typing import Any

from datarax_mp.monitoring.stats import Stats, Times

_STARVING = 0.1  # a share of time for which workers wait for a core
_ENOUGH = 0.03  # a share of time that is not worth doing anything about
_MOST_PREDICTED = 64
_HEADS = ("", "count", "mean", "p50", "p99", "largest", "share")
_MAIN = {"waited": "waiting", "own": "your step", "moved": "to the device", "handed": "handing over"}


class Report:
    """Figures with what follows from them; ``print`` it, ``show`` it in a terminal, or let a notebook show it.

    Attributes:
        stats: the figures.
    """

    def __init__(self, stats: Stats) -> None:
        self.stats = stats

    @property
    def advice(self) -> str:
        """A sentence or two: is the loader the bottleneck, what takes its time, and what would help."""
        stats = self.stats
        if not stats.waited.count:
            return "Too few batches have been received to say anything; iterate for some seconds."
        waiting = 1 - stats.utilisation
        said = f"Waiting for data {waiting:.0%} of the time"
        if waiting <= _ENOUGH:
            return f"{said}: the loader is not what holds the training up."
        step, made = stats.away.mean, stats.worked
        costs = f"a batch takes a worker {duration(made)}{self._slowest()}, and the caller {duration(step)}"
        wanted = [n for n in range(1, _MOST_PREDICTED + 1) if stats.predicted(n) >= 1 - _ENOUGH]
        if stats.starving > _STARVING:
            costs += (
                f". The worker waits for a core {stats.starving:.0%} of that: more processes and threads want one than "
                f"there are ({stats.cores}), so that more workers bring less than is said here"
            )
        if stats.workers and stats.workers in wanted:
            return (
                f"{said}, although {costs}. So {stats.workers} workers should do, but they lack cores (there are "
                f"{stats.cores}), or single batches take much longer than others (see p99)."
            )
        if wanted:
            left = 1 - stats.predicted(wanted[0])
            return f"{said}: {costs}. With num_workers={wanted[0]} you would wait {left:.0%}."
        best = stats.predicted(_MOST_PREDICTED)
        most = next(n for n in range(1, _MOST_PREDICTED + 1) if stats.predicted(n) >= 0.99 * best)
        remedy = f"Make {self._cheaper()} cheaper, or store data closer to what is trained on."
        if stats.workers >= most:
            return f"{said}: {costs}. More workers bring nothing: the {stats.cores} cores are busy. {remedy}"
        return (
            f"{said}: {costs}. With num_workers={most} you would wait {1 - best:.0%}, and more would bring nothing: "
            f"the {stats.cores} cores are busy then. {remedy}"
        )

    def _slowest(self) -> str:
        shares = self.stats.shares
        if not shares:
            return ""
        name = max(shares, key=shares.__getitem__)
        return f" ({in_words(name)} takes {shares[name]:.0%} of that)"

    def _cheaper(self) -> str:
        shares = self.stats.shares
        return in_words(max(shares, key=shares.__getitem__)) if shares else "stages"

    @property
    def ceiling(self) -> str:
        """What the utilisation is, and how far it could rise."""
        stats = self.stats
        if not stats.waited.count:
            return ""
        limits, shares = stats.ceilings, stats.shares
        said = f"AU {stats.utilisation:.0%}; at most {limits['cores']:.0%} by the {stats.cores} cores"
        if shares:
            said += f", {limits['part']:.0%} if {in_words(max(shares, key=shares.__getitem__))} took no time"
        return f"{said}. {limits['main']:.0%} of the time between two waits is your own step."

    def rows(self) -> list[tuple[str, ...]]:
        """The table: what it is, how often, its times, and its share, in main of the time, in a worker of its work."""
        stats = self.stats
        whole, shares = stats.seconds, stats.shares
        found = [_row("first batch", stats.first, None)]
        for name, label in _MAIN.items():
            times: Times = getattr(stats, name)
            if times.count:
                found.append(_row(label, times, times.mean * stats.waited.count / whole if whole else None))
        found.append(_row("a worker", stats.made, None))
        found += [_row(f"  {name}", times, shares.get(name)) for name, times in stats.parts.items()]
        if stats.blocks.count:
            found.append(_row("  a block", stats.blocks, None))
        if stats.workers and stats.idle.count:
            found.append(_row("  idle before", stats.idle, None))
        if stats.workers and stats.full.count:
            found.append(_row("  no slot free", stats.full, None))
        if stats.sent.count:
            found.append(_row("  sending", stats.sent, None))
        return found

    @property
    def totals(self) -> str:
        """Counts and rates in one line."""
        stats = self.stats
        kind = f" ({stats.kind})" if stats.why or stats.kind in ("threads", "ray") else ""
        said = [
            f"{stats.batches} batches ({stats.batches_per_second:.4g} a second), {stats.rows} records",
            f"{stats.bytes / 1e6:.4g} MB ({stats.bytes_per_second / 1e6:.4g} a second)",
            f"{stats.workers} workers{kind}, {stats.busy:.0%} busy",
            f"{stats.copied} copied, {stats.skipped} records skipped",
        ]
        said += [f"{stats.retried} times read again"] * bool(stats.retried)
        said += [f"{stats.hits} records out of the cache, {stats.misses} not"] * bool(stats.hits + stats.misses)
        said += [f"{stats.replaced} workers replaced"] * bool(stats.replaced)
        said += [f"{stats.kind}, because {stats.why}"] * bool(stats.why)
        if stats.ring != type(stats.ring)():
            said.append(f"slots: {stats.ring.held} held, {stats.ring.filled} filled, {stats.ring.free} free")
        return "; ".join(said)

    def __str__(self) -> str:
        table = [_HEADS, *self.rows()]
        wide = max(len(row[0]) for row in table)
        lines = [row[0].ljust(wide) + "".join(cell.rjust(10) for cell in row[1:]) for row in table]
        return "\n".join(line.rstrip() for line in [*lines, self.totals, self.advice, self.ceiling] if line)

    __repr__ = __str__

    def show(self) -> None:
        """Print it; with colours where rich is installed and standard output is a terminal."""
        if sys.stdout.isatty():
            try:
                from rich import print as rich_print
            except ImportError:
                pass
            else:
                rich_print(self)
                return
        print(self)

    def __rich__(self) -> Any:
        """What rich makes of it."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(*_HEADS[:1], box=None, pad_edge=False)
        for head in _HEADS[1:]:
            table.add_column(head, justify="right")
        shares = self.stats.shares
        slowest = f"  {max(shares, key=shares.__getitem__)}" if shares else None
        for row in self.rows():
            table.add_row(*map(Text, row), style="bold yellow" if row[0] == slowest else None)
        waits = self.stats.waited.count and 1 - self.stats.utilisation > _ENOUGH
        advice = Text(self.advice, style="bold yellow" if waits else "bold green")
        return Group(table, Text(self.totals), advice, Text(self.ceiling))

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th>{escape(text)}</th>" for text in _HEADS)
        body = "".join(
            f"<tr><td style='text-align:left;white-space:pre'>{escape(row[0])}</td>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows()
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{escape(self.totals)}</p>"
            f"<p><b>{escape(self.advice)}</b> {escape(self.ceiling)}</p>"
        )


def _row(label: str, times: Times, share: float | None) -> tuple[str, ...]:
    shown = [duration(value) for value in (times.mean, times.p50, times.p99, times.largest)]
    return (label, str(times.count), *shown, "" if share is None else f"{share:.0%}")


def in_words(name: str) -> str:
    """What a part of the workers' time is called in a sentence."""
    return {"read": "reading", "collate": "collating"}.get(name, f"stage {name}")


def duration(seconds: float) -> str:
    """Seconds as text: ``duration(0.0032) == "3.2 ms"``."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"
