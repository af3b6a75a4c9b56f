"""Reading records: one by one, or those of a batch in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, RecordError, field_name, flatten, nest
from datarax_mp.core.spec import Layout
from datarax_mp.sources.adapt import Source
from datarax_mp.workers import board
from datarax_mp.workers.board import PHASE, RECORD, WHOLE_BATCH, Phase

_READING = int(Phase.READING)  # an enum's member is slower, and this is written for every record


class Reader:
    """Asks a source for records, and says on the board for which.

    Args:
        source: the source.
        skip: whether a record that cannot be read is to be left out.
    """

    def __init__(self, source: Source, *, skip: bool) -> None:
        self._source, self._skip = source, skip
        self._name = type(source).__name__
        self._together = getattr(source, "__getitems__", None)

    def one(self, number: int) -> Any:
        """Record ``number``."""
        at = board.here
        at[PHASE], at[RECORD] = _READING, number
        try:
            return self._source[number]
        except Exception as error:
            error.add_note(f"while reading record {number} of {self._name}")
            raise

    def together(self, numbers: NDArray[np.int64]) -> Sequence[Any] | Columns | None:
        """Records in one call, to be picked by their place in ``numbers``; None if they are to be read singly.

        Raises:
            RecordError: the source returned more or fewer than it was asked for.
        """
        if self._together is None:
            return None
        wanted = numbers.tolist()
        at = board.here
        at[PHASE], at[RECORD] = _READING, WHOLE_BATCH
        try:
            found = self._together(wanted)
        except Exception as error:
            if self._skip:
                return None  # which record it is that has to be skipped shows when they are read singly
            error.add_note(f"while reading records {wanted} of {self._name}")
            raise
        if isinstance(found, Mapping):
            return Columns(found, wanted, self._name)
        records = list(found)
        if len(records) != len(wanted):
            raise RecordError(_miscounted(self._name, wanted, str(len(records))))
        return records


class Columns:
    """Records of which a source gave all values of a field together.

    Args:
        tree: a column for each field, nested as the records are: an array ``(records, ...)`` or another sequence.
        numbers: the records' numbers.
        source: the source's name, for messages.

    Raises:
        RecordError: a column has more or fewer values than there are records.
    """

    def __init__(self, tree: Mapping[str, Any], numbers: Sequence[int], source: str) -> None:
        self._columns = flatten(tree)
        for path, column in self._columns.items():
            single = (
                isinstance(column, (str, bytes)) or not hasattr(column, "__len__") or getattr(column, "ndim", 1) == 0
            )
            rows = "no" if single else len(column)
            if rows != len(numbers):
                raise RecordError(_miscounted(source, numbers, f"{rows} values of field '{field_name(path)}'"))

    def __getitem__(self, place: int) -> dict[str, Any]:
        return nest({path: column[place] for path, column in self._columns.items()})

    def write(self, layout: Layout, targets: Arrays) -> bool:
        """Copy the columns into a batch, if they are just what the layout says; False if record by record may help."""
        if layout.info or len(self._columns) != len(layout.fields):
            return False
        for spec in layout.fields:
            column = self._columns.get(spec.path)
            if not isinstance(column, np.ndarray):
                return False
            if column.dtype != spec.source_dtype or column.shape[1:] != spec.shape:
                return False
        for spec in layout.fields:
            targets[spec.path][...] = self._columns[spec.path]
        return True


def _miscounted(source: str, numbers: Sequence[int], found: str) -> str:
    return f"{source}.__getitems__ was asked for {len(numbers)} records {numbers} and returned {found}"
