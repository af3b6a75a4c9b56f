"""From one record to one row of a batch's arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np

from datarax_mp.core.record import PLAIN_ARRAYS, Arrays, Infos, Path
from datarax_mp.core.spec import FieldSpec, Layout
from datarax_mp.core.strays import is_from_handler
from datarax_mp.recipe.padding import Lengths, Padding

# Python's own numbers, and the dtype that NumPy reads them as.
_NUMBERS = {np.dtype(np.int64): int, np.dtype(np.float64): float, np.dtype(np.bool_): bool}
_INT64 = 1 << 63
_TEXTS = frozenset({str, bytes, type(None)})  # what is no array travels as it is; these need not be looked into

ALL_WRITTEN: Final = object()
"""What ``RowWriter.put_plain`` returns instead of a record when no number is left."""


class Rows:
    """How records become rows.

    Args:
        layout: what is in a row.
        padding: the stages that pad, or None; what they add to a row is left to them.
    """

    def __init__(self, layout: Layout, padding: Padding | None = None) -> None:
        added = () if padding is None else padding.added
        self.layout = layout = replace(layout, fields=tuple(spec for spec in layout.fields if spec.path not in added))
        self.info = frozenset(layout.info)
        self.nested = any(len(path) > 1 for path in (*layout.info, *(spec.path for spec in layout.fields)))
        fields = [(spec, _canonical(spec.source_dtype)) for spec in layout.fields]
        self._even = [
            (
                spec.path,
                self._key(spec.path),
                _scalar(dtype) if spec.shape == () else None,
                spec.shape,
                dtype,
                _number(spec),
            )
            for spec, dtype in fields
            if not spec.ragged
        ]
        known = {spec.path: (spec, dtype) for spec, dtype in fields}
        self._ragged = [
            (path, self._key(path), first, cut, len(spec.shape), spec.shape[0], spec.shape[1:], dtype)
            for path, first, cut in (() if padding is None else padding.ragged)
            for spec, dtype in [known[path]]
        ]

    def _key(self, path: Path) -> Path | str:
        """What the field's value is found by, in a record of dicts by its path."""
        return path if self.nested else path[0]

    def into(self, targets: Arrays, infos: Infos) -> RowWriter:
        """What writes to an array ``(rows, ...)`` for each field, and appends what is no array."""
        even = [(*about, targets[path]) for path, *about in self._even]
        ragged = [(*about, targets[path]) for path, *about in self._ragged]
        return RowWriter(self, targets, infos, even, ragged, [(self._key(path), infos[path]) for path in infos])


class RowWriter:
    """The rows of a batch that is being written; see ``Rows``."""

    __slots__ = ("_count", "_even", "_infos", "_ragged", "_rows", "_targets", "_texts")

    def __init__(
        self,
        rows: Rows,
        targets: Arrays,
        infos: Infos,
        even: list[tuple[Any, ...]],
        ragged: list[tuple[Any, ...]],
        texts: list[tuple[Path | str, list[Any]]],
    ) -> None:
        self._rows, self._targets, self._infos = rows, targets, infos
        self._even, self._ragged, self._texts = even, ragged, texts
        self._count = len(even) + len(ragged) + len(texts)

    def put_plain(self, make: Callable[[int], Any], numbers: Iterator[int], lengths: list[Lengths]) -> Any:
        """Write records, for as long as they are dicts of just what the first one held, as most are.

        Such a record takes a fifth of the time of ``split_record`` and ``put``, and a loop in here takes a tenth off
        that. Where one is of another kind its row may be half written, and ``put`` has to follow.

        Args:
            make: makes the record of a number; what it raises is raised, and all records before it are written.
            numbers: of the records that are still to be made; it is used up to the last one that was made.
            lengths: for each row that is written, what ``Padding.admit`` returns; it grows.

        Returns:
            The record that is of another kind, or ``ALL_WRITTEN``.
        """
        even, ragged, texts, count, plain_arrays = self._even, self._ragged, self._texts, self._count, PLAIN_ARRAYS
        row, whole, nested = len(lengths), 0, self._rows.nested
        for asked in numbers:
            record = made = make(asked)
            if type(record) is not dict:
                return record
            if nested:
                record = _leaves(record)
            if len(record) != count:
                return made
            length: Lengths = ()
            try:
                for name, _ in texts:
                    if type(record[name]) not in _TEXTS:
                        return made
                for name, scalar, shape, dtype, number, target in even:
                    value = record[name]
                    kind = type(value)
                    if kind is scalar:
                        target[row] = value
                    elif kind in plain_arrays:
                        if value.shape != shape or (value.dtype is not dtype and value.dtype != dtype):
                            return made
                        target[row] = value
                    elif kind is number and (kind is not int or -_INT64 <= value < _INT64):
                        target[row] = value
                    else:
                        return made
                for name, first, cut, axes, most, rest, dtype, target in ragged:
                    value = record[name]
                    if type(value) not in plain_arrays or (value.dtype is not dtype and value.dtype != dtype):
                        return made
                    shape = value.shape
                    if len(shape) != axes or (axes > 1 and shape[1:] != rest):
                        return made
                    if (found := shape[0]) != whole and not first:
                        return made  # than which another field is longer that is padded together with it
                    whole = found
                    if found > most:
                        if not cut:
                            return made
                        value, found = value[:most], most
                    if first:
                        length += (found,)
                    target[row, :found] = value
            except KeyError:
                if is_from_handler():
                    raise
                return made
            for name, values in texts:
                values.append(record[name])
            lengths.append(length)
            row += 1
        return ALL_WRITTEN

    def put(self, row: int, arrays: Arrays, info: Mapping[Path, Any], number: int) -> None:
        """Write any record's arrays, and append what is none.

        Raises:
            RecordError: they do not fit the layout; ``number`` is the record's, for the message.
        """
        layout = self._rows.layout
        if len(arrays) != len(layout.fields) or info.keys() != self._rows.info:
            layout.check_names(arrays, info, number)
        for spec in layout.fields:
            array = arrays.get(spec.path)
            if array is None:
                layout.check_names(arrays, info, number)
            assert array is not None
            target = self._targets[spec.path]
            if array.shape == spec.shape and array.dtype == spec.source_dtype:
                target[row] = array
                continue
            spec.check(array, number)
            if array.shape == spec.shape:
                target[row] = array
            elif array.size:  # what is empty may lack an axis; and what a row lacks is filled when all are there
                target[row, : len(array)] = array
        for path, values in self._infos.items():
            values.append(info[path])


def _leaves(record: dict[Any, Any], prefix: Path = ()) -> dict[Path, Any]:
    """What dicts within dicts hold, by path; ``core.record.flatten`` takes any mapping, and twice as long."""
    leaves: dict[Path, Any] = {}
    for name, value in record.items():
        if type(value) is dict:
            leaves.update(_leaves(value, (*prefix, name)))
        else:
            leaves[*prefix, name] = value
    return leaves


def _number(spec: FieldSpec) -> type | None:
    return _NUMBERS.get(spec.source_dtype) if spec.shape == () else None


def _scalar(dtype: np.dtype) -> type | None:
    """The class of NumPy's scalars that have this dtype and no other: their dtype need not be asked for."""
    return dtype.type if dtype.kind in "biufc" and np.dtype(dtype.type) == dtype else None


def _canonical(dtype: np.dtype) -> np.dtype:
    """The object that NumPy's arrays of this dtype have, rather than the equal one that came out of a pickle."""
    usual = np.dtype(dtype.type)
    return usual if usual == dtype else dtype
