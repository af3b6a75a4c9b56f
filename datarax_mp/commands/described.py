"""A batch as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import shorten
from typing import Any, NamedTuple

import numpy as np

_VALUES = 8  # of one row
_TEXT = 88  # letters of a value that is no array


class Shown(NamedTuple):
    """A batch, in host memory, with where it comes.

    Attributes:
        epoch: the epoch.
        step: the step.
        arrays: by name, NumPy arrays ``(rows, ...)``.
        info: by name, the fields that are no arrays, with a value for each row.
        records: for each row the record's number, or None where it is padding.
    """

    epoch: int
    step: int
    arrays: dict[str, Any]
    info: dict[str, list[Any]]
    records: list[int | None]


def described(shown: Shown, rows: int) -> Iterator[str]:
    """Lines of text that say what is in a batch.

    Args:
        shown: the batch.
        rows: of so many rows the first values are told.

    >>> shown = Shown(0, 3, {"x": np.array([[1.5, 2.0], [0.0, 0.0]], np.float32)}, {"name": ["a", None]}, [7, None])
    >>> for line in described(shown, rows=1):
    ...     print(line)
    epoch 0, step 3: 2 rows, of which 1 is padding
    records: 7 -
    x: float32 (2, 2), from 0.0 to 2.0, mean 0.875
      [0] 1.5 2.0
      ... 1 more
    name: no array
      [0] 'a'
      ... 1 more
    """
    padding = shown.records.count(None)
    told = f", of which {padding} {'is' if padding == 1 else 'are'} padding" if padding else ""
    count = len(shown.records)
    yield f"epoch {shown.epoch}, step {shown.step}: {count} row{'' if count == 1 else 's'}{told}"
    yield f"records: {' '.join('-' if number is None else str(number) for number in shown.records)}"
    for name, array in shown.arrays.items():
        yield f"{name}: {array.dtype} {array.shape}{_range(array)}"
        yield from _first([_values(row) for row in array[:rows]], len(array))
    for name, values in shown.info.items():
        yield f"{name}: no array"
        yield from _first([shorten(repr(value), _TEXT, placeholder=" ...") for value in values[:rows]], len(values))


def _first(told: Sequence[str], count: int) -> Iterator[str]:
    for row, text in enumerate(told):
        yield f"  [{row}] {text}"
    if len(told) < count:
        yield f"  ... {count - len(told)} more"


def _range(array: np.ndarray) -> str:
    if array.size == 0 or array.dtype.kind not in "iuf":
        return ""
    return f", from {array.min()} to {array.max()}, mean {array.mean(dtype=np.float64):.6g}"


def _values(row: Any) -> str:
    return " ".join(str(value) for value in np.ravel(row)[:_VALUES]) + (" ..." if np.size(row) > _VALUES else "")
