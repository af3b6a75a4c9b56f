"""Reading records: one by one, or those of a batch in one call."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.backoff import pause
from datarax_mp.core.record import RecordError, name_fields
from datarax_mp.core.strays import claim, is_interruption, is_stray
from datarax_mp.recipe.fetched import Columns
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import AT, READING, here
from datarax_mp.sources.adapt import Source, quick_way
from datarax_mp.sources.answers import miscounted
from datarax_mp.sources.records import InTurn, Records
from datarax_mp.sources.tables import columns_of

log = logging.getLogger("datarax_mp")

Found = TypeVar("Found")
Together: TypeAlias = Sequence[Any] | Columns | Records
"""Records that were read in one call, by their places; those of ``Records`` are made when they are asked for."""


class _Lent:
    """A source whose records nobody changes."""

    def __init__(self, lend: Callable[[int], Any]) -> None:
        self._lend = lend

    def __getitem__(self, number: int) -> Any:
        return self._lend(number)


class Reader:
    """Asks a source for records, and says on the board for which.

    Args:
        recipe: says of what source, and how; with ``skip`` set, a record that cannot be read is to be left out.
        source: what stands for that source, or None.
    """

    def __init__(self, recipe: Recipe, source: Source | None = None) -> None:
        self._source: Any = recipe.source if source is None else source
        self._skip = recipe.skip
        self._fields, self._retries = recipe.reading.fields, recipe.reading.retries
        self._name = type(recipe.source).__name__
        self._many = quick_way(self._source, "__getitems__")
        self._into = None if self._fields is not None else quick_way(self._source, "read_into")
        if not recipe.user_code and (lend := quick_way(self._source, "lend")) is not None:
            self._source = _Lent(lend)

    @property
    def many(self) -> bool:
        """Whether records may be read several in one call."""
        return self._many is not None

    def expect(self, numbers: list[int]) -> None:
        """Of these ``one`` will be asked next, in their order."""

    def one(self, number: int) -> Any:
        """Record ``number``."""
        here.line[AT] = READING + number  # ``here.read(number)``, whose call costs a tenth of a small record
        try:
            record = self._source[number]
        except Exception as error:
            record = self._one_again(error, number)
        return record if self._fields is None else name_fields(record, self._fields, number)

    def together(self, numbers: NDArray[np.int64]) -> Together | None:
        """Records in one call, to be picked by their place in ``numbers``; None if they are to be read singly.

        Raises:
            RecordError: the source returned more or fewer than it was asked for.
        """
        if self._many is None:
            return None
        wanted = numbers.tolist()
        here.read()
        try:
            return self._picked(self._read_together(wanted), wanted)
        except Exception as error:
            if self._skip and not is_stray(error):
                return None  # which record it is that has to be skipped shows when they are read singly
            raise

    @property
    def writes(self) -> bool:
        """Whether the source writes records where they are wanted."""
        return self._into is not None

    def into(self, numbers: NDArray[np.int64], out: dict[str, Any]) -> None:
        """Have the source write records; see ``WritingSource``."""
        into = self._into
        assert into is not None
        here.read()
        try:
            into(numbers, out)
        except Exception as error:
            if self._skip:
                claim(error)
                raise
            self._again(error, lambda: into(numbers, out), f"records {numbers.tolist()}")

    def _read_together(self, wanted: list[int]) -> Any:
        many = self._many
        assert many is not None
        try:
            return many(wanted)
        except Exception as error:
            if self._skip:
                claim(error)
                raise
            return self._again(error, lambda: many(wanted), f"records {wanted}")

    def _picked(self, found: Any, wanted: list[int]) -> Together:
        table = columns_of(found)
        if table is not None:
            return Columns(table, wanted, self._name)
        try:
            records = found if isinstance(found, Records) else list(found)
        except BaseException as error:
            claim(error)
            raise
        if len(records) != len(wanted):
            raise RecordError(miscounted(self._name, wanted, str(len(records))))
        if isinstance(records, Records):
            make = records.make if isinstance(records, InTurn) else records.__getitem__
            return InTurn(functools.partial(self._in_turn, make, wanted), len(wanted))
        if self._fields is None:
            return records
        return [name_fields(record, self._fields, number) for record, number in zip(records, wanted, strict=True)]

    def _in_turn(self, make: Callable[[int], Any], wanted: list[int], place: int) -> Any:
        """One of the records that are made only now: it may hang or raise as one that is read singly."""
        number = wanted[place]
        here.line[AT] = READING + number
        try:
            record = make(place)
        except Exception as error:
            if self._skip:
                claim(error)
                raise
            record = self._again(error, lambda: make(place), f"record {number}")
        return record if self._fields is None else name_fields(record, self._fields, number)

    def _one_again(self, error: Exception, number: int) -> Any:
        return self._again(error, lambda: self._source[number], f"record {number}")

    def _again(self, error: Exception, attempt: Callable[[], Found], what: str) -> Found:
        """Try further times what has raised ``error``, with pauses; raise what the last attempt does."""
        for tried in range(1, self._retries + 1):
            if is_interruption(error):
                break
            log.warning("reading %s of %s: %r; attempt %d of %d follows", what, self._name, error, tried, self._retries)
            here.retried += 1
            time.sleep(pause(tried))
            try:
                return attempt()
            except Exception as later:
                error = later
        tries = f", {self._retries + 1} times" if self._retries else ""
        claim(error, f"while reading {what} of {self._name}{tries}")
        raise error
