"""A source that is read record by record although it can read several at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from datarax_mp.monitoring.hints.look import Look
from datarax_mp.sources.adapt import quick_way
from datarax_mp.sources.facts import SaysFacts

_READING = 0.3  # a share of the workers' time


def hint(look: Look) -> str | None:
    """Where reading takes a good part of the time; the way to several records has to be one that is not used."""
    if look.batch_size == 1 or not look.measured or look.stats.shares.get("read", 0.0) < _READING:
        return None
    why = next((why for source in _read_from(look.source) if (why := _unused(source, look)) is not None), None)
    if why is None:
        return None
    return f"reading takes {look.stats.shares['read']:.0%} of the workers' time, record by record: {why}"


def _read_from(source: Any) -> Iterator[Any]:
    """A source, and what it reads from, as far as that is known."""
    yield source
    if isinstance(source, SaysFacts):
        for inner in (getattr(source, "source", None), *(getattr(source, "sources", None) or ())):
            if inner is not None:
                yield from _read_from(inner)


def _unused(source: Any, look: Look) -> str | None:
    kind = type(source)
    if quick_way(source, "__getitems__") is not None:
        return None
    if hasattr(source, "__getitems__"):
        owner = next(base for base in kind.__mro__ if "__getitem__" in vars(base))
        return (
            f"__getitems__ of {kind.__name__} is not used, because {owner.__name__} has a __getitem__ of its own, and "
            f"whether both give the same is not known. Write a __getitems__ in {owner.__name__}, too"
        )
    if quick_way(source, "read_into") is not None and look.by_record:
        return (
            f"read_into of {kind.__name__} writes whole records into a batch, which stages for records rule out. "
            "Write a __getitems__(numbers) beside it, or use MapBatch"
        )
    return None
