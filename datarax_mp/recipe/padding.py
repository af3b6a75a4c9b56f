"""How records of unequal length become one array, in place.

    written, record by record      a a . . . . | b b b . . . | c . . . . .     each row has room for the longest allowed
    closed up, row by row          a a - | b b b | c - -                       (rows, L): contiguous, "-" is the fill

A row only ever moves towards the front, to where the rows before it have left, so nothing is overwritten before it has
moved. (Some rows move at a time; NumPy buffers what overlaps.) What is beyond the last row is not looked at: main maps
``(rows, L)`` at the same address, without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datarax_mp.core.record import Arrays, Path, RecordError, clash, field_name, path_of
from datarax_mp.core.spec import Layout
from datarax_mp.recipe.work import Shapes
from datarax_mp.stages.pad import Pad

Lengths = tuple[int, ...]

_BUFFER_BYTES = 1 << 18  # moved in one call
_OWN_BYTES = 1 << 18  # of a field's rows; more would not stay in a core's own cache


@dataclass(frozen=True, slots=True)
class _Group:
    """The fields of one stage, ready for use."""

    pad: Pad
    fields: tuple[Path, ...]
    mask: Path | None
    lengths: Path | None

    @property
    def added(self) -> list[Path]:
        """The fields that records lack and batches have."""
        return [path for path in (self.mask, self.lengths) if path is not None]

    @classmethod
    def of(cls, pad: Pad, known: Collection[Path]) -> _Group:
        fields = tuple(path_of(name, known) for name in pad.names)
        if any("/" in path[0] for path in fields):  # names with slashes in them: so are those added beside them
            known = [*known, *((name,) for name in pad.added if not any(field_name(path) == name for path in known))]
        mask, lengths = (None if name is None else path_of(name, known) for name in (pad.mask, pad.lengths))
        return cls(pad, fields, mask, lengths)

    def admit(self, arrays: Arrays, info: Mapping[Path, Any], number: int) -> int:
        """Cut the record's arrays where that is allowed, and return their length."""
        length: int | None = None
        for path in self.fields:
            array = self._array(path, arrays, info, number)
            if length is not None and len(array) != length:
                first = field_name(self.fields[0])
                raise RecordError(
                    f"record {number}, field '{field_name(path)}': expected length {length} like field '{first}', "
                    f"which {self.pad} pads together with it, found {len(array)}. Give each field a Pad of its own"
                )
            length = len(array)
        assert length is not None
        if length > self.pad.length:
            if not self.pad.truncate:
                raise RecordError(
                    f"record {number}, field '{field_name(self.fields[0])}': expected a length of at most "
                    f"{self.pad.length}, as {self.pad} says, found {length}. Set truncate=True to cut it, or a larger "
                    "length"
                )
            length = self.pad.length
            arrays.update({path: arrays[path][:length] for path in self.fields})
        for added in self.added:
            if added in arrays:
                raise self.taken(added, number)
        return length

    def of_one(self, length: int) -> Arrays:
        """The fields that are added to a record of that length, as arrays."""
        found = ((self.mask, np.ones(length, bool)), (self.lengths, np.array(length, np.int32)))
        return {path: array for path, array in found if path is not None}

    def write_added(self, targets: Arrays, lengths: Sequence[int], width: int) -> Arrays:
        """Write the fields that are added to a batch, and return them in the shape that they are padded to."""
        written: Arrays = {}
        counts = np.array(lengths, np.int32)
        if self.mask is not None:
            written[self.mask] = mask = shrunk(targets[self.mask], (width,))[: len(counts)]
            np.less(np.arange(width, dtype=np.int32), counts[:, None], out=mask)
        if self.lengths is not None:
            written[self.lengths] = targets[self.lengths]
            targets[self.lengths][: len(counts)] = counts
        return written

    def _array(self, path: Path, arrays: Arrays, info: Mapping[Path, Any], number: int) -> np.ndarray:
        array = arrays.get(path)
        if array is not None and array.ndim:
            return array
        if array is not None:
            found = f"a scalar of dtype {array.dtype}"
        elif path in info:
            found = type(info[path]).__name__
        else:
            found = f"no such field among {sorted(map(field_name, [*arrays, *info]))}"
        raise RecordError(
            f"record {number}, field '{field_name(path)}': expected an array for {self.pad} to pad, of one axis or "
            f"more, found {found}"
        )

    def taken(self, path: Path, number: int) -> RecordError:
        """The error for a field that is to be added and is there already."""
        return RecordError(
            f"record {number}, field '{field_name(path)}': expected no such field, for {self.pad} adds it, found one. "
            "Choose another name for mask or lengths"
        )


class Padding:
    """The stages of a recipe that pad.

    Args:
        pads: the stages.
        known: the fields that records have, or that a batch has.

    Attributes:
        bounds: for each field of unequal length, the most that a record may have.
        varying: those that differ in length from batch to batch.
        added: the fields that records lack and batches have.
        ragged: the fields of records that are padded: whether one is the first of those that are padded together, and
            whether a record that is too long is cut.
    """

    def __init__(self, pads: Sequence[Any], known: Collection[Path]) -> None:
        self._groups = [_Group.of(pad, known) for pad in pads]
        self._fills = {path: group.pad.value for group in self._groups for path in group.fields}
        masks = {group.mask: False for group in self._groups if group.mask is not None}
        self._all_fills = self._fills | masks
        unequal = {path: group.pad for group in self._groups for path in (*group.fields, group.mask) if path}
        self.bounds = {path: pad.length for path, pad in unequal.items()}
        self.varying = {path for path, pad in unequal.items() if pad.to != "fixed"}
        self.added = frozenset(path for group in self._groups for path in group.added)
        self.ragged = [
            (path, place == 0, group.pad.truncate) for group in self._groups for place, path in enumerate(group.fields)
        ]
        self._own: dict[Path, np.ndarray] = {}

    def first(
        self, arrays: Arrays, info: Mapping[Path, Any], number: int, *, batch_size: int, x64: bool | None
    ) -> Layout:
        """Fix the layout by the first record; the fields that are added are among its arrays from then on.

        Args:
            arrays: the record's arrays.
            info: its other fields.
            number: its number.
            batch_size: rows in a batch.
            x64: as ``Layout.of_parts`` has it.

        Raises:
            RecordError: a name is taken, or is a part of one that is; the fill is no value of a field's dtype; see
                ``Pad`` for others.
        """
        for group in self._groups:
            for path in group.added:
                if any(clash(path, other) for other in (*arrays, *info)):
                    raise group.taken(path, number)
        for group, length in zip(self._groups, self.admit(arrays, info, number), strict=True):
            arrays.update(group.of_one(length))
        layout = Layout.of_parts(
            arrays, info, number=number, batch_size=batch_size, x64=x64, bounds=self.bounds, varying=self.varying
        )
        self._check_fills(layout, number)
        return layout

    def _check_fills(self, layout: Layout, number: int) -> None:
        for spec in layout.fields:
            for dtype in (spec.source_dtype, spec.dtype):
                if spec.ragged and not _fits(value := self._all_fills[spec.path], dtype):
                    raise RecordError(
                        f"record {number}, field '{field_name(spec.path)}': expected a value of Pad that fits {dtype}, "
                        f"found {value!r}. Choose another value, or convert the field in a stage"
                    )

    def admit(self, arrays: Arrays, info: Mapping[Path, Any], number: int) -> Lengths:
        """Make a record's arrays ready to be written, and return their length, stage by stage.

        Raises:
            RecordError: see ``Pad``.
        """
        return tuple([group.admit(arrays, info, number) for group in self._groups])

    def whole(self, arrays: Arrays) -> Arrays:
        """One record's arrays, padded to the most that a record can have."""
        padded = dict(arrays)
        for path, value in self._all_fills.items():
            array = arrays[path]
            padded[path] = np.full((self.bounds[path], *array.shape[1:]), value, array.dtype)
            padded[path][: len(array)] = array
        return padded

    def room(self, targets: Arrays) -> Arrays:
        """Where the rows of a batch are to be written, before ``close_up``.

        A field of which a whole batch is small has memory of this object's own, which holds the fill already and stays
        in the processor's cache; others are written to the targets.
        """
        room = dict(targets)
        for path, value in self._fills.items():
            target = targets[path]
            if target.nbytes > _OWN_BYTES:
                continue
            own = self._own.get(path)
            if own is None or len(own) < len(target):
                own = self._own[path] = np.empty_like(target)
            room[path] = own[: len(target)]
            room[path].fill(value)
        return room

    def clear(self, room: Arrays, row: int) -> None:
        """Make a row of ``room`` ready to be written again."""
        for path, value in self._fills.items():
            room[path][row] = value

    def close_up(self, room: Arrays, targets: Arrays, lengths: Sequence[Lengths]) -> Arrays:
        """Pad the records that have been written, at the front of the targets.

        Args:
            room: the arrays ``(rows, length, ...)`` that the records were written to.
            targets: those that ``room`` is for.
            lengths: what ``admit`` returned for each record.

        Returns:
            The targets; those of unequal length in the shape that they are padded to, or if there is no record, as they
            are.
        """
        if not lengths:
            return targets
        padded = dict(targets)
        for group, found in zip(self._groups, zip(*lengths, strict=True), strict=True):
            width = group.pad.width(max(found))
            for path in group.fields:
                rows, target = room[path], targets[path]
                if rows is target:
                    padded[path] = close_up(rows, found, width, group.pad.value)
                else:
                    padded[path] = closed = shrunk(target, (width, *target.shape[2:]))[: len(found)]
                    closed[:] = rows[: len(found), :width]
            padded |= group.write_added(targets, found, width)
        return padded


def close_up(rows: np.ndarray, lengths: Sequence[int], width: int, value: Any) -> np.ndarray:
    """Move the rows of a contiguous array together, each ``width`` long, and fill what they lack; in place.

    >>> rows = np.array([[1, 2, 0, 0], [3, 0, 0, 0], [4, 5, 6, 0]])
    >>> close_up(rows, [2, 1, 3], 3, -1).tolist()
    [[1, 2, -1], [3, -1, -1], [4, 5, 6]]
    """
    count = len(lengths)
    closed, fill = shrunk(rows, (width, *rows.shape[2:]))[:count], np.array(value).astype(rows.dtype)
    if width < rows.shape[1]:
        several = max(1, _BUFFER_BYTES * count // max(1, closed.nbytes))
        for first in range(0, count, several):
            last = min(first + several, count)
            closed[first:last] = rows[first:last, :width]
    for row, length in enumerate(lengths):
        if length < width:
            closed[row, length:] = fill
    return closed


def shrunk(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A contiguous array's memory seen as as many smaller rows; only for writing, for the rows do not move.

    >>> shrunk(np.arange(6).reshape(2, 3), (2,)).tolist()
    [[0, 1], [2, 3]]
    """
    return rows.reshape(-1)[: len(rows) * math.prod(shape)].reshape(len(rows), *shape)


def smaller(layout: Layout, targets: Arrays) -> Shapes | None:
    """The shape of each field's rows, or None if all are as the layout says."""
    shapes = tuple([targets[spec.path].shape[1:] for spec in layout.fields])
    return shapes if any(shape != spec.shape for shape, spec in zip(shapes, layout.fields, strict=True)) else None


def _fits(value: Any, dtype: np.dtype) -> bool:
    """Whether a value stays what it is: exactly as an integer or a bool, without becoming infinite as a float."""
    number = np.asarray(value)
    if number.dtype.kind == "c" and dtype.kind != "c":
        return False
    with np.errstate(all="ignore"):
        converted = number.astype(dtype)
        if dtype.kind in "iub":
            return bool(converted == number)
        return dtype.kind not in "fc" or bool(np.isinf(converted) == np.isinf(number))
