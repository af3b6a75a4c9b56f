"""WindowSource: stretches of a long array, or of a source's records.

    tokens     t t t t t t t t t t t t        length 4, stride 4
    records    |0      |1      |2      |
    sequences  a a a a a b b b b b b b        lengths [5, 7], stride 1: no window crosses from one into the next
    records    |a0-3|a1-4| |b0-3| ... |b3-6|

A window is found by arithmetic; between sequences by the running sum of how many windows each has.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datarax_mp.core.foreign import Unreadable
from datarax_mp.core.integers import integer
from datarax_mp.core.record import (
    PLAIN_ARRAYS,
    VALUE_FIELD,
    Path,
    RecordError,
    as_array,
    field_name,
    fields_of,
    leaves_of,
    nest,
)
from datarax_mp.order import Choice, in_order_or_shuffled
from datarax_mp.order.stepping import Stepping
from datarax_mp.sources.adapt import Source
from datarax_mp.sources.answers import plain_column
from datarax_mp.sources.chain import Chain
from datarax_mp.sources.concat import plain_sources
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.own_copy import own_copy
from datarax_mp.sources.records import InTurn, Records
from datarax_mp.sources.tables import is_array
from datarax_mp.sources.together import checked_numbers, one_number, read_together

Numbers = NDArray[np.int64]


class WindowSource(SaysFacts):
    """Windows of equal length, ``stride`` apart: token sequences for a language model, clips of a video, time series.

    What is left at the end and does not fill a window is left out.

    Args:
        tokens: an array ``(n, ...)``, also an ``np.memmap``, whose rows are put together; or a source, whose records
            are, field by field.
        length: rows of a window. For inputs and targets that are one apart, one more than the inputs have.
        stride: from one window's begin to the next one's; None is ``length``, so that no row comes twice.
        lengths: int ``(sequences,)``, where the rows are sequences one behind the other: how many each has. No window
            crosses from one into the next; a sequence shorter than a window has none.
        random_offset: whether the windows of an epoch begin at another one of the first ``stride`` rows, so that over
            the epochs rows are seen in all places of a window. Needs a seed. A record's number is then the row at which
            its window begins, and ``len`` that of the last one, plus one; an epoch has one in ``stride`` of them.
        field: the name of the window in a record, where ``tokens`` is an array.

    Raises:
        TypeError: a number is no int.
        ValueError: there is not one whole window; lengths do not add up to the rows; ``random_offset`` with lengths.
        RecordError: ``tokens`` are a masked array with masked values, or one of another library that holds nulls.

    >>> source = WindowSource(np.arange(10), 4, 3)
    >>> [source[n]["tokens"].tolist() for n in range(len(source))]
    [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    """

    def __init__(
        self,
        tokens: Any,
        length: int,
        stride: int | None = None,
        *,
        lengths: ArrayLike | None = None,
        random_offset: bool = False,
        field: str = "tokens",
    ) -> None:
        self.length = integer("length", length, least=1)
        self.stride = integer("stride", length if stride is None else stride, least=1)
        self.random_offset = bool(random_offset)
        self.field = field
        self.array: Any = None
        self.source: Source | None = None
        if isinstance(tokens, np.ndarray) and not isinstance(tokens, np.ma.MaskedArray):
            self.array = tokens
        elif is_array(tokens):
            self.array = _as_array(tokens, field)
        else:
            [self.source] = plain_sources([tokens], "WindowSource")
        rows = len(self.array) if self.source is None else len(self.source)
        if random_offset and lengths is not None:
            raise ValueError("random_offset moves windows over the whole array, and lengths keep them in sequences")
        room = rows - self.stride + 1 if random_offset else rows
        self._sequences = None if lengths is None else _Sequences(_checked(lengths, rows), self.length, self.stride)
        self._windows = (
            max(0, (room - self.length) // self.stride + 1) if self._sequences is None else self._sequences.windows
        )
        if not self._windows:
            raise ValueError(
                f"there is not one window: {rows} rows, length={self.length}, stride={self.stride}"
                + (", random_offset=True" if random_offset else "")
                + ("" if lengths is None else ", each within a sequence")
            )

    def __len__(self) -> int:
        """How many windows there are; with ``random_offset`` wherever one may begin."""
        return self._windows * self.stride if self.random_offset else self._windows

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One window.

        Raises:
            IndexError: there is no such record.
            RecordError: records of the source differ in their fields or shapes.
        """
        [begin] = self._begins(np.array([one_number(number, len(self))])).tolist()
        if self.array is not None:
            return {self.field: self.array[begin : begin + self.length]}
        return self._stacked(begin)

    def __getitems__(self, numbers: list[int]) -> dict[str, Any] | Records:
        """Several windows: of an array as one array ``(windows, length, ...)``, others when they are asked for."""
        begins = self._begins(checked_numbers(numbers, len(self)))
        if self.array is None:
            wanted = begins.tolist()
            return InTurn(lambda place: self._stacked(wanted[place]), len(wanted))
        return {self.field: np.asarray(self.array[begins[:, None] + np.arange(self.length)])}

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        name = f"WindowSource({self.length}, {self.stride})"
        inner = [] if self.source is None else [self.source]
        return SourceFacts.of_several(name, inner, self._stepping if self.random_offset else None)

    def _stepping(self, shuffle: bool | None) -> Choice:
        shuffle = self.facts().shuffle if shuffle is None else shuffle
        return Stepping(in_order_or_shuffled(self._windows, shuffle=shuffle), self.stride)

    def _begins(self, numbers: Numbers) -> Numbers:
        """The row at which each window begins."""
        if self.random_offset:
            return numbers
        return numbers * self.stride if self._sequences is None else self._sequences.begins(numbers)

    def _stacked(self, begin: int) -> dict[str, Any]:
        assert self.source is not None
        found = read_together(self.source, np.arange(begin, begin + self.length))
        if isinstance(found, dict):
            return found
        stacks: dict[Path, _Stack] = {}
        for row, record in enumerate(found):
            leaves = _leaves(record, begin + row)
            if not row:
                stacks = {path: _Stack(leaf, self.length) for path, leaf in leaves.items()}
            if leaves.keys() != stacks.keys():
                raise self._unlike(begin, f"record {begin + row} has the fields {_names(leaves)}, not {_names(stacks)}")
            for path, leaf in leaves.items():
                stacks[path].put(row, leaf)
        try:
            return nest({path: stack.whole() for path, stack in stacks.items()})
        except ValueError as error:
            raise self._unlike(begin, error) from error

    def _unlike(self, begin: int, why: object) -> RecordError:
        return RecordError(
            f"records {begin} to {begin + self.length - 1} cannot be put together in a window ({why}): all records "
            "must have the same fields of the same shapes"
        )


class _Stack:
    """The values of a field in a window's records, copied as they come: the next one may be in the same memory.

    Args:
        first: the first one.
        length: how many there are to be.
    """

    def __init__(self, first: Any, length: int) -> None:
        self._even: np.ndarray | None = None
        self._values: list[Any] = []  # of those that are not all alike
        if type(first) in PLAIN_ARRAYS:
            self._shape, self._dtype = first.shape, first.dtype
            self._even = np.empty((length, *self._shape), self._dtype)

    def put(self, row: int, value: Any) -> None:
        """One of them, in their order."""
        even = self._even
        if even is not None:
            if type(value) in PLAIN_ARRAYS and value.shape == self._shape and value.dtype == self._dtype:
                even[row] = value
                return
            self._values, self._even = list(even[:row]), None
        self._values.append(own_copy(value))

    def whole(self) -> np.ndarray:
        """All of them.

        Raises:
            ValueError: they are not of one shape.
        """
        return np.stack(self._values) if self._even is None else self._even


def _leaves(record: Any, number: int) -> dict[Path, Any]:
    """What a record holds, its numbers as arrays; what is text stays so."""
    fields = record if type(record) is dict else fields_of(record)
    leaves: dict[Path, Any] = {VALUE_FIELD: record} if fields is None else leaves_of(fields)
    for path, value in leaves.items():
        if type(value) not in PLAIN_ARRAYS and (array := as_array(value, number, path)) is not None:
            leaves[path] = array
    return leaves


def _names(paths: Iterable[Path]) -> list[str]:
    return list(map(field_name, paths))


class _Sequences:
    """Where windows begin in sequences that are one behind the other."""

    def __init__(self, lengths: Numbers, length: int, stride: int) -> None:
        self.stride = stride
        counts = np.maximum(0, (lengths - length) // stride + 1)
        self._rows = np.cumsum(lengths) - lengths
        self._chain = Chain(counts)
        self.windows = len(self._chain)

    def begins(self, numbers: Numbers) -> Numbers:
        """The row at which each window begins."""
        which, within = self._chain.find(numbers)
        return self._rows[which] + within * self.stride


def _as_array(tokens: Any, field: str) -> np.ndarray:
    try:
        return np.asarray(plain_column(tokens))
    except Unreadable as error:
        raise RecordError(error.about(f"WindowSource, field '{field}'")) from error.__cause__


def _checked(lengths: ArrayLike, rows: int) -> Numbers:
    array = np.asarray(lengths)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers of one axis, found dtype {array.dtype} of shape {array.shape}")
    if len(array) and array.min() < 0:
        raise ValueError(f"lengths must not be negative, found {array.min()}")
    if array.sum() != rows:
        raise ValueError(f"lengths must add up to the {rows} rows, and make {array.sum()}")
    return array.astype(np.int64)
