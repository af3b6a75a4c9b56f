"""Reading records: one by one, or those of a batch in one call."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.foreign import Unreadable, as_plain
from datarax_mp.core.record import Arrays, Infos, Path, RecordError, field_name, flatten, name_fields, nest
from datarax_mp.core.spec import Layout
from datarax_mp.core.strays import claim, is_stray
from datarax_mp.core.values import as_info, is_bytes, read
from datarax_mp.recipe import recorder
from datarax_mp.recipe.recorder import PHASE, RECORD, WHOLE_BATCH, Phase
from datarax_mp.sources.adapt import Source, quick_way
from datarax_mp.sources.tables import columns_of

log = logging.getLogger("datarax_mp")

Found = TypeVar("Found")

_READING = int(Phase.READING)  # an enum's member is slower, and this is written for every record
_PAUSE_SECONDS = 0.1  # before the first further attempt; before each one after that twice as long
_LONGEST_PAUSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read.

    Attributes:
        fields: names for the items of records that are tuples, or None.
        retries: how often reading is tried again after it has raised.
    """

    fields: tuple[str, ...] | None = None
    retries: int = 0


class Reader:
    """Asks a source for records, and says on the board for which.

    Args:
        source: the source.
        reading: how records are read.
        skip: whether a record that cannot be read is to be left out.
    """

    def __init__(self, source: Source, reading: Reading, *, skip: bool) -> None:
        self._source, self._skip = source, skip
        self._fields, self._retries = reading.fields, reading.retries
        self._name = type(source).__name__
        self._many = quick_way(source, "__getitems__")

    def one(self, number: int) -> Any:
        """Record ``number``."""
        at = recorder.here
        at[PHASE], at[RECORD] = _READING, number
        try:
            record = self._source[number]
        except Exception as error:
            record = self._again(error, lambda: self._source[number], f"record {number}")
        return record if self._fields is None else name_fields(record, self._fields, number)

    def together(self, numbers: NDArray[np.int64]) -> Sequence[Any] | Columns | None:
        """Records in one call, to be picked by their place in ``numbers``; None if they are to be read singly.

        Raises:
            RecordError: the source returned more or fewer than it was asked for.
        """
        if self._many is None:
            return None
        wanted = numbers.tolist()
        at = recorder.here
        at[PHASE], at[RECORD] = _READING, WHOLE_BATCH
        try:
            return self._picked(self._read_together(wanted), wanted)
        except Exception as error:
            if self._skip and not is_stray(error):
                return None  # which record it is that has to be skipped shows when they are read singly
            raise

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

    def _picked(self, found: Any, wanted: list[int]) -> Sequence[Any] | Columns:
        table = columns_of(found)
        if table is not None:
            return Columns(table, wanted, self._name)
        try:
            records = list(found)
        except BaseException as error:
            claim(error)
            raise
        if len(records) != len(wanted):
            raise RecordError(_miscounted(self._name, wanted, str(len(records))))
        if self._fields is None:
            return records
        return [name_fields(record, self._fields, number) for record, number in zip(records, wanted, strict=True)]

    def _again(self, error: Exception, attempt: Callable[[], Found], what: str) -> Found:
        """Try further times what has raised ``error``, with pauses; raise what the last attempt does."""
        for tried in range(1, self._retries + 1):
            log.warning("reading %s of %s: %r; attempt %d of %d follows", what, self._name, error, tried, self._retries)
            time.sleep(min(_PAUSE_SECONDS * 2 ** (tried - 1), _LONGEST_PAUSE_SECONDS))
            try:
                return attempt()
            except Exception as later:
                error = later
        tries = f", {self._retries + 1} times" if self._retries else ""
        claim(error, f"while reading {what} of {self._name}{tries}")
        raise error


class Columns:
    """Records of which a source gave all values of a field together.

    Args:
        tree: a column for each field, nested as the records are: an array ``(records, ...)`` or another sequence.
        numbers: the records' numbers.
        source: the source's name, for messages.

    Raises:
        RecordError: a column has more or fewer values than there are records, or masked values or nulls.
    """

    def __init__(self, tree: Mapping[str, Any], numbers: Sequence[int], source: str) -> None:
        self._columns: dict[Path, Any] = {}
        for path, column in flatten(tree).items():
            plain: Any = column
            rows: int | str = "no"
            if type(column) is np.ndarray and column.ndim and column.dtype.kind in "fiub":  # as most are
                rows = len(column)
            elif not _is_single(column):
                plain = _plain(column, path, numbers)
                rows = len(plain)
            if rows != len(numbers):
                raise RecordError(_miscounted(source, numbers, f"{rows} values of field '{field_name(path)}'"))
            self._columns[path] = plain

    def __getitem__(self, place: int) -> dict[str, Any]:
        try:
            return nest({path: column[place] for path, column in self._columns.items()})
        except BaseException as error:
            claim(error)
            raise

    def write(self, layout: Layout, targets: Arrays) -> Infos | None:
        """Copy the columns into a batch, if they are just what the layout says.

        Returns:
            The fields that are no arrays; None if nothing is copied, because record by record may help.
        """
        if len(self._columns) != len(layout.fields) + len(layout.info):
            return None
        for spec in layout.fields:
            column = self._columns.get(spec.path)
            if not isinstance(column, np.ndarray):
                return None
            if column.dtype != spec.source_dtype or column.shape[1:] != spec.shape:
                return None
        if not all(isinstance(self._columns.get(path), list) for path in layout.info):
            return None
        for spec in layout.fields:
            targets[spec.path][...] = self._columns[spec.path]
        return {path: list(map(as_info, self._columns[path])) for path in layout.info}


def _is_single(column: Any) -> bool:
    """Whether this is one value and no column."""
    if isinstance(column, str) or is_bytes(column) or getattr(column, "ndim", 1) == 0:
        return True
    return not (hasattr(column, "__len__") or hasattr(column, "shape"))


def _plain(column: Any, path: Path, numbers: Sequence[int]) -> Any:
    """A column as an array of numbers or, where it holds anything else, as a sequence of the records' values."""
    try:
        plain = as_plain(column)
        if isinstance(plain, np.ndarray):
            if plain.dtype.hasobject and not plain.dtype.names and plain.ndim == 1:
                return plain.tolist()
            numbers_ = read(plain)
            return plain.tolist() if numbers_ is None else numbers_
        return plain
    except Unreadable as error:
        raise RecordError(error.about(f"field '{field_name(path)}'", numbers)) from error.__cause__


def _miscounted(source: str, numbers: Sequence[int], found: str) -> str:
    return f"{source}.__getitems__ was asked for {len(numbers)} records {numbers} and returned {found}"
