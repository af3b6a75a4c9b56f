"""Columns that a source gave for the records of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datarax_mp.core.foreign import Unreadable, as_plain
from datarax_mp.core.record import Arrays, Infos, Path, RecordError, field_name, flatten, nest
from datarax_mp.core.spec import Layout
from datarax_mp.core.strays import claim
from datarax_mp.core.values import as_info, is_bytes, read


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
                raise RecordError(miscounted(source, numbers, f"{rows} values of field '{field_name(path)}'"))
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


def miscounted(source: str, numbers: Sequence[int], found: str) -> str:
    """The words for a source that gave more or fewer records, or values, than it was asked for."""
    return f"{source}.__getitems__ was asked for {len(numbers)} records {numbers} and returned {found}"
