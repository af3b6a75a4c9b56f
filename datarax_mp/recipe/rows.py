"""From one record to one row of a batch's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from datarax_mp.core.record import PLAIN_ARRAYS, Arrays, Path
from datarax_mp.core.spec import Layout

# Python's own numbers, and the dtype that NumPy reads them as.
_NUMBERS = {np.dtype(np.int64): int, np.dtype(np.float64): float, np.dtype(np.bool_): bool}
_INT64 = 1 << 63


class Rows:
    """How records become rows.

    Args:
        layout: what is in a row.
        ragged: the field of unequal length if there is just one and nothing is added to it, else None.
    """

    def __init__(self, layout: Layout, ragged: Path | None = None) -> None:
        self.layout, self.info = layout, frozenset(layout.info)
        plain = not layout.info and all(
            len(spec.path) == 1 and (not spec.ragged or spec.path == ragged) for spec in layout.fields
        )
        self._plain = [
            (
                spec.path,
                spec.path[0],
                spec.shape,
                _canonical(spec.source_dtype),
                _NUMBERS.get(spec.source_dtype) if spec.shape == () else None,
                spec.ragged,
            )
            for spec in layout.fields
            if plain
        ]

    def into(self, targets: Arrays) -> RowWriter:
        """What writes to an array ``(rows, ...)`` for each field."""
        return RowWriter(self, targets, [(*about, targets[path]) for path, *about in self._plain])


class RowWriter:
    """The rows of a batch that is being written; see ``Rows``."""

    __slots__ = ("_plain", "_rows", "_targets")

    def __init__(self, rows: Rows, targets: Arrays, plain: list[tuple[Any, ...]]) -> None:
        self._rows, self._targets, self._plain = rows, targets, plain

    def put_plain(self, row: int, record: Any) -> tuple[int, ...] | None:
        """Write a record that is a dict of just what the first one held, as most are; None if it is not.

        Then the row may be half written, and ``put`` has to follow. This takes a fourth of the time of
        ``split_record`` and ``put``.

        Returns:
            The length of the ragged field, if there is one.
        """
        plain = self._plain
        if not plain or type(record) is not dict or len(record) != len(plain):
            return None
        lengths: tuple[int, ...] = ()
        plain_arrays = PLAIN_ARRAYS
        try:
            for name, shape, dtype, number, ragged, target in plain:
                value = record[name]
                if type(value) in plain_arrays:
                    if value.dtype is not dtype and value.dtype != dtype:
                        return None
                    found = value.shape
                    if found == shape and not ragged:
                        target[row] = value
                    elif ragged and len(found) == len(shape) and found[0] <= shape[0] and found[1:] == shape[1:]:
                        lengths = found[:1]
                        target[row, : found[0]] = value
                    else:
                        return None
                elif type(value) is number and (type(value) is not int or -_INT64 <= value < _INT64):
                    target[row] = value
                else:
                    return None
        except KeyError:
            return None
        return lengths

    def put(self, row: int, arrays: Mapping[Path, np.ndarray], info: Mapping[Path, Any], number: int) -> None:
        """Write any record's arrays.

        Raises:
            RecordError: they do not fit the layout; ``number`` is the record's, for the message.
        """
        layout = self._rows.layout
        if len(arrays) != len(layout.fields) or info.keys() != self._rows.info:
            layout.check_names(dict(arrays), info, number)
        for spec in layout.fields:
            array = arrays.get(spec.path)
            if array is None:
                layout.check_names(dict(arrays), info, number)
            assert array is not None
            target = self._targets[spec.path]
            if array.shape == spec.shape and array.dtype == spec.source_dtype:
                target[row] = array
                continue
            spec.check(array, number)
            if array.shape == spec.shape:
                target[row] = array
            else:
                target[row, : len(array)] = array  # what a row lacks is filled when all are there


def _canonical(dtype: np.dtype) -> np.dtype:
    """The object that NumPy's arrays of this dtype have, rather than the equal one that came out of a pickle."""
    usual = np.dtype(dtype.type)
    return usual if usual == dtype else dtype
