"""What ``top`` shows, made of what was seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from datarax_mp.monitoring.report import duration

_LONG = 5.0  # seconds after which it is pointed out that nothing moves
_BAR = 10
_FIGURES = 44  # columns that figures take beside names


def picture(processes: Sequence[dict[str, Any]], width: int, height: int | None) -> RenderableType:
    """All processes, one below the other.

    Args:
        processes: what was seen of each.
        width: the terminal's columns.
        height: the terminal's lines, so that workers are left out rather than cut off; None is without end.
    """
    if not processes:
        return Text("No pipeline of this user is running (one shows from its first iter on). Ctrl-C ends this.")
    workers = sum(len(pipeline["members"]) for one in processes for pipeline in one["pipelines"])
    most = workers
    if height is not None:
        others = sum(2 + sum(8 + len(pipeline["stages"]) for pipeline in one["pipelines"]) for one in processes)
        most = max(height - others, 0)
    return Group(*(part for one in processes for part in _process(one, width, most)))


def _process(one: dict[str, Any], width: int, most: int) -> Iterator[RenderableType]:
    state = "STOPPED  " if one["stopped"] else "" if one["lives"] else "ENDED  "
    command = " ".join(one["command"])
    cores = "" if one["cpu"] is None else f"  {one['cpu']:.2f} cores"
    yield Rule(style="dim")
    yield _line((str(one["pid"]), "bold"), f"{cores}  {_size(one['memory'])}  ", (state, "bold red"), command)
    for pipeline in one["pipelines"]:
        yield from _pipeline(pipeline, width, most, lives=one["lives"])
        most = max(most - len(pipeline["members"]), 0)


def _pipeline(said: dict[str, Any], width: int, most: int, *, lives: bool) -> Iterator[RenderableType]:
    last, total = said["last"], said["total"]
    steps = "" if said["steps"] is None else f" of {said['steps']}"
    who = "no workers" if said["workers"] == "none" else f"{len(said['members'])} {said['workers']}"
    yield _line(
        f"  {said['source']}, {said['batch_size']} a batch, {who}; {said['batches']} batches, "
        f"epoch {said['epoch']}, step {said['step']}{steps}"
    )
    waiting = 1 - last["utilisation"]
    yield _line(
        f"  {last['batches_per_second']:.4g} batches/s, {last['rows_per_second']:.4g} records/s, "
        f"{last['bytes_per_second'] / 1e6:.3g} MB/s; ",
        (f"waiting {waiting:.0%}", "bold yellow" if waiting > 0.03 else "bold green"),
        f", workers {last['busy']:.0%} busy" if said["members"] else "",
    )
    yield _line(
        f"  slots: {last['ring/held']} held, {last['ring/filled']} filled, {last['ring/free']} free; "
        f"{total['copied']} copied, {total['skipped']} skipped, {total['retried']} read again, "
        f"{total['replaced']} replaced"
    )
    yield _now(said, lives=lives)
    if any(key.startswith("shares/") for key in last):
        yield _parts(said, width - _FIGURES)
    if said["members"] and most:
        yield _workers(said["members"][:most], (width - _FIGURES) // 2)
    if (more := len(said["members"]) - most) > 0:
        yield Text(f"  and {more} workers more", style="dim")


def _now(said: dict[str, Any], *, lives: bool) -> Text:
    since = said["since"]
    if not lives:
        return Text("  main has ended; this is what was seen last", style="bold red")
    if since is None:
        return Text("  main is starting: the first record is read, or workers start")
    what = "waiting for a batch" if said["waiting"] else "away with a batch: the caller's own step"
    return Text(f"  main is {what}, for {duration(since)}", style="bold red" if since > _LONG else "")


def _parts(said: dict[str, Any], widest: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("  of the workers' time", no_wrap=True)
    for head in ("", "share", "mean", "p99"):
        table.add_column(head, justify="right", no_wrap=True)
    last = said["last"]
    shares = {key.removeprefix("shares/"): value for key, value in last.items() if key.startswith("shares/")}
    for name, share in shares.items():
        count, whole = last[f"parts/{name}/count"], last[f"parts/{name}/total"]
        mean = duration(whole / count) if count else ""
        table.add_row(f"  {_cut(name, widest)}", _bar(share), f"{share:.0%}", mean, duration(last[f"parts/{name}/p99"]))
    return table


def _workers(members: Sequence[dict[str, Any]], widest: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1))
    table.add_column("  worker", no_wrap=True)
    seen = any(one["doing"] is not None for one in members)  # of threads nobody sees that
    if seen:
        table.add_column("now", no_wrap=True)
        table.add_column("record", justify="right", no_wrap=True)
        table.add_column("mostly", no_wrap=True)
        table.add_column("memory", justify="right", no_wrap=True)
    table.add_column("cores", justify="right", no_wrap=True)
    for one in members:
        word, share = next(iter(one["shares"].items()), ("", 0.0))
        record = "" if one["record"] is None else str(one["record"])
        mostly = _cut(f"{share:4.0%} {word}", widest) if word else ""
        table.add_row(
            f"  {one['thread']}",
            *((_cut(one["doing"] or "", widest), record, mostly, _size(one["memory"])) if seen else ()),
            "" if one["cpu"] is None else f"{one['cpu']:.2f}",
            style=None if one["lives"] else "red",
        )
    return table


def _line(*parts: str | tuple[str, str]) -> Text:
    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else text[: max(widest - 1, 1)] + "…"


def _bar(share: float) -> str:
    full = round(share * _BAR)
    return "█" * full + "░" * (_BAR - full)


def _size(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.0f} MB"
