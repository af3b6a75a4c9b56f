"""The first difference of two ledgers, in words.

Of a field that differs the sums of ``digests`` differ: by d0 = sum of (h' - h) and d1 = sum of n * (h' - h). Where it
is in one record alone, d1 = n * d0, so n follows, by a division modulo 2^64. Where it is in several, that quotient is
as good as random, and no number of a record: with a million records it is taken for one once in 10^13 times. Then it is
still known whether the step's first record is among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from datarax_mp.ledger.entries import Begin, Entry
from datarax_mp.ledger.reading import Batches, Given

_SEQUENCE, _SUM, _FIRST, _FIRST_ROW, _FIELDS = range(5)  # of the words of a digest; ``digests`` itself needs xxhash
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comes of comparing two ledgers.

    Attributes:
        verdict: ``"alike"``, ``"different"``, or ``"nothing"`` where no step is in the reach of both.
        text: that in words.
    """

    verdict: Literal["alike", "different", "nothing"]
    text: str


def compare(one: Batches, other: Batches) -> Comparison:
    """Compare two ledgers, A and B, as far as both reach: one may have begun later, or ended earlier."""
    mine, theirs = one.given, other.given
    if not mine or not theirs:
        empty = " and ".join(name for name, given in (("A", mine), ("B", theirs)) if not given)
        return Comparison("nothing", f"there is no batch in {empty}")
    first, last = max(min(mine), min(theirs)), min(max(mine), max(theirs))
    places = sorted(place for place in mine.keys() | theirs.keys() if first <= place <= last)
    if not places:
        return Comparison("nothing", "A and B have no step in common")
    for place in places:
        if told := list(_differences(mine.get(place), theirs.get(place))):
            return Comparison("different", "\n".join(told))
    began, ended = _where(mine[places[0]].entry), _where(mine[places[-1]].entry)
    more = {"A": len(mine) - len(places), "B": len(theirs) - len(places)}
    rest = [f"; {name} has {count} more" for name, count in more.items() if count]
    return Comparison("alike", f"{len(places)} steps are alike, from {began} to {ended}{''.join(rest)}")


def _differences(mine: Given | None, theirs: Given | None) -> Iterator[str]:
    """In what the batches of one place differ, in words."""
    if mine is None or theirs is None:
        there = mine or theirs
        assert there is not None
        yield f"{_where(there.entry)}: there is a batch of {there.entry.rows} records only in {'A' if mine else 'B'}"
        return
    one, other, where = mine.entry, theirs.entry, _where(mine.entry)
    kinds = _kinds(mine.begin), _kinds(theirs.begin)
    if one.rows == other.rows and one.digest == other.digest and kinds[0] == kinds[1]:
        return
    if one.step != other.step:
        where = f"{where} (step {other.step} of B)"
    first, second = _words(one), _words(other)
    if one.rows != other.rows:
        yield f"{where}: {one.rows} rows in A, {other.rows} in B{_missing(one, other)}"
    elif first[_SEQUENCE] != second[_SEQUENCE]:
        same = "the same records, in another order" if first[_SUM] == second[_SUM] else "other records"
        seeds = f" (seeds {mine.begin.seed} and {theirs.begin.seed})" if mine.begin.seed != theirs.begin.seed else ""
        yield f"{where}: {same}; the first is record {first[_FIRST]} in A, {second[_FIRST]} in B{seeds}"
    elif kinds[0] != kinds[1]:
        yield from (f"{where}: {told}" for told in _other_kinds(*kinds))
    else:
        yield from (f"{where}, {told}" for told in _other_values(first, second, one.rows, mine.begin))


def _other_values(mine: list[int], theirs: list[int], rows: int, begin: Begin) -> Iterator[str]:
    """The same records, but not the same values: the record, or what is known of it, and the field."""
    one = "item" if begin.items else "record"
    for place, (name, _) in enumerate(_kinds(begin)):
        at = _FIELDS + 2 * place
        d0, d1 = ((theirs[word] - mine[word]) & _MASK for word in (at, at + 1))
        if not d0 and not d1:
            continue
        number = _quotient(d1, d0)
        if number is not None and number < begin.records:
            yield f"{one} {number}: field '{name}'"
        elif mine[_FIRST_ROW] != theirs[_FIRST_ROW]:
            yield f"{one} {mine[_FIRST]}, the first of several among {rows}: field '{name}'"
        else:
            yield f"several {one}s among {rows}, but not the first: field '{name}'"


def _quotient(product: int, factor: int) -> int | None:
    """The least n with ``n * factor == product`` modulo 2^64; None if there is none.

    >>> _quotient(7 * 12345 & _MASK, 12345), _quotient(3 * 4096, 4096), _quotient(3, 4096)
    (7, 3, None)
    """
    if not factor:
        return None
    zeros = (factor & -factor).bit_length() - 1
    if product & ((1 << zeros) - 1):
        return None
    modulus = 1 << (64 - zeros)
    return (product >> zeros) * pow(factor >> zeros, -1, modulus) % modulus


def _missing(one: Entry, other: Entry) -> str:
    """Which record one of them lacks, where it is just one."""
    fewer, more = sorted((one, other), key=lambda entry: entry.rows)
    if more.rows - fewer.rows != 1:
        return ""
    return f"; record {(_words(more)[_SUM] - _words(fewer)[_SUM]) & _MASK} is only in {'A' if more is one else 'B'}"


def _kinds(begin: Begin) -> tuple[tuple[str, str], ...]:
    """What each field is, in the order of their words."""
    arrays = tuple((name, f"{dtype} {shape}") for name, dtype, shape in begin.fields)
    return arrays + tuple((name, "no array") for name in begin.objects)


def _other_kinds(one: tuple[tuple[str, str], ...], other: tuple[tuple[str, str], ...]) -> Iterator[str]:
    mine, theirs = dict(one), dict(other)
    if mine == theirs:
        yield "the fields come in another order"
    for name in {**mine, **theirs}:
        first, second = mine.get(name, "missing"), theirs.get(name, "missing")
        if first != second:
            yield f"field '{name}' is {first} in A, {second} in B"


def _words(entry: Entry) -> list[int]:
    return np.frombuffer(entry.digest, np.uint64).tolist()


def _where(entry: Entry) -> str:
    return f"epoch {entry.epoch}, step {entry.step}"
