"""Memory that can be had, and how large its pages are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from datarax_mp.commands.checks.finding import Finding, gigabytes
from datarax_mp.core.cgroups import text_of
from datarax_mp.core.refusals import limited_address_space, unless_refused
from datarax_mp.ring.files import has_huge_pages
from datarax_mp.ring.limits import room

_LITTLE = 1e9  # bytes: JAX, Python and a few workers want that much
_PAGES = "sys/kernel/mm/transparent_hugepage"


def memory(root: Path = Path("/")) -> Iterator[Finding]:
    """What is free within the tightest limit.

    Args:
        root: where ``proc`` and ``sys`` are, for tests.
    """
    left = room(root)
    if left is None:
        yield Finding("memory", "this system does not tell what is free; nothing is checked before it is allocated")
    else:
        remedy = ""
        if left.size < _LITTLE:
            remedy = "batches in flight can be bounded with memory_budget=; fewer workers hold fewer of them"
        yield Finding("memory", f"{gigabytes(left.size)} left within {left.within}", remedy)
    if limit := limited_address_space():
        yield Finding("address space", limit, "mappings count, too, and JAX maps much: ulimit -v unlimited")


def huge_pages(root: Path = Path("/")) -> Iterator[Finding]:
    """Whether the kernel uses pages of 2 MB: for memory in general, and for what this package shares.

    Args:
        root: where ``sys`` is, for tests.
    """
    chosen = _chosen(text_of(root / _PAGES / "enabled"))
    if chosen is None:
        yield Finding("huge pages", "this system does not tell; nothing depends on it")
        return
    shared = "given for shared memory"
    if not unless_refused(has_huge_pages, False):
        shared = "not given for shared memory, so that small rows are gathered a fifth slower (Linux 6.1 and newer do)"
    yield Finding("huge pages", f"{chosen} for memory, {shared}")


def _chosen(text: str) -> str | None:
    """Of ``always [madvise] never`` what is in brackets."""
    found = re.search(r"\[(\w+)\]", text)
    return found and found[1]
