"""What a batch looks like in memory: the fields of its records, their dtypes, and where each lies in a slot.

The first record fixes names, shapes and dtypes for the whole stream.

NumPy only: workers import this module.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, Path, RecordError, field_name, nest, split_record
from datarax_mp.core.values import is_extension, is_null

ALIGNMENT = 64  # XLA aliases host memory only from this alignment on; it is a cache line as well

_EXACT = 1 << 53  # up to here, every integer is a float64
_NARROWED = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}


def align(size: int, to: int = ALIGNMENT) -> int:
    """Round up to a multiple: ``align(65) == 128``."""
    return -(-size // to) * to


def jax_dtype(dtype: np.dtype, *, x64: bool) -> np.dtype:
    """The dtype that a JAX array made of ``dtype`` has.

    Raises:
        TypeError: JAX has no such dtype.

    >>> jax_dtype(np.dtype("int64"), x64=False), jax_dtype(np.dtype("uint8"), x64=False)
    (dtype('int32'), dtype('uint8'))
    """
    if dtype.kind in "mM" or dtype.itemsize > 16 or dtype.name in ("float128", "longdouble"):
        raise TypeError(f"JAX has no dtype {dtype}; convert it in a stage, or use output='numpy'")
    dtype = dtype.newbyteorder("=") if not is_extension(dtype) else dtype
    return dtype if x64 else np.dtype(_NARROWED.get(dtype.name, dtype))


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One array field of a batch.

    Attributes:
        path: the field's name, nested names as several parts.
        shape: one record's shape, without the batch axis; where it may be smaller, the most that it can be.
        source_dtype: the dtype that records have.
        dtype: the dtype that is delivered.
        offset: bytes from the start of the batch's block to this field's rows.
        ragged: whether records may be shorter along their first axis, to be padded when they are a batch.
        varies: whether the arrays of a batch may be smaller than ``shape`` says.
    """

    path: Path
    shape: tuple[int, ...]
    source_dtype: np.dtype
    dtype: np.dtype
    offset: int
    ragged: bool = False
    varies: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, as delivered."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def check(self, array: np.ndarray, number: int) -> np.ndarray:
        """Return the array if it may become a row of this field.

        Raises:
            RecordError: its shape differs, its dtype does not convert safely, or an integer would lose digits as a
                float.
        """
        if array.shape != self.shape and not self._admits(array.shape):
            raise RecordError(f"record {number}, field '{field_name(self.path)}': {self._misshapen(array.shape)}")
        if self.ragged and array.size == 0:
            return array  # an empty list is float64, whatever the lists of other records hold
        if array.dtype != self.source_dtype and not np.can_cast(array.dtype, self.source_dtype, "safe"):
            raise RecordError(
                f"record {number}, field '{field_name(self.path)}': expected dtype {self.source_dtype} as in the "
                f"first record, found {array.dtype}. Convert it in the source or in a stage"
            )
        if (value := self.rounded(array)) is not None:
            raise RecordError(
                f"record {number}, field '{field_name(self.path)}': expected a value that {self.source_dtype} holds, "
                f"the dtype of the first record, found {value} ({array.dtype}). Convert the field in the source or in "
                "a stage: to one integer type in all records, or to floats if digits do not matter"
            )
        return array

    def rounded(self, array: np.ndarray) -> int | None:
        """An integer that would lose digits in this field, whose first record has floats; None if there is none."""
        if self.source_dtype.char not in "dD" or array.itemsize < 8 or array.dtype.kind not in "iu":
            return None  # floats hold all of the integers that convert to them safely, but for those of 64 bits
        if not array.ndim:
            value = int(array)
            return None if -_EXACT <= value <= _EXACT or int(float(value)) == value else value
        large = array[(array > _EXACT) | (array < -_EXACT)].tolist()
        return next((value for value in large if int(float(value)) != value), None)

    def _admits(self, shape: tuple[int, ...]) -> bool:
        if self.ragged and shape == (0,):
            return True  # an empty list does not say of what shape its items would be
        if len(shape) != len(self.shape):
            return False
        if self.ragged:
            return shape[0] <= self.shape[0] and shape[1:] == self.shape[1:]
        return self.varies and all(map(operator.le, shape, self.shape))

    def _misshapen(self, found: tuple[int, ...]) -> str:
        if self.ragged:
            expected = str(self.shape).replace(str(self.shape[0]), "n", 1)
            return (
                f"expected shape {expected} with n up to {self.shape[0]}, found {found}. Pad evens out the first axis "
                "alone: resize or crop in a stage before it"
            )
        if self.varies:
            return (
                f"expected at most shape {self.shape}, which is what the stages make of a record padded to its full "
                f"length, found {found}. Let no MapBatch make more of a shorter batch than of a longer one"
            )
        told = f"expected shape {self.shape} as in the first record, found {found}. All records of a stream share one"
        if found and len(found) == len(self.shape) and found[1:] == self.shape[1:]:
            name = field_name(self.path)
            return (
                f"{told} shape: add the stage Pad('{name}', length=N) for records of unequal length, N being the most "
                "that one may have (to='longest' or to=(64, 128, ...) pads to what a batch needs), or crop in a stage"
            )
        return f"{told} shape: resize or crop in a stage (Pad evens out the first axis alone)"

    def convert(self, values: np.ndarray, out: np.ndarray) -> NDArray[np.bool_]:
        """Write rows of ``source_dtype`` to ``out`` of ``dtype``; return as bool ``(rows,)`` which kept all values."""
        if self.dtype.kind in "iu":  # as labels are: nothing to be said about them, and a third of the time
            np.copyto(out, values, casting="unsafe")
            same = out == values
            return same if same.ndim == 1 else same.all(axis=tuple(range(1, same.ndim)))
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(out, values, casting="unsafe")
        return ~np.asarray(self._changed(values, out).any(axis=tuple(range(1, out.ndim))))

    def misfit(self, values: np.ndarray, number: int) -> RecordError:
        """The error for a row that ``convert`` could not keep."""
        with np.errstate(over="ignore", invalid="ignore"):
            changed = self._changed(values, values.astype(self.dtype))
        return RecordError(
            f"record {number}, field '{field_name(self.path)}': expected a value that fits {self.dtype}, found "
            f"{values[tuple(np.argwhere(changed)[0])]} ({self.source_dtype}). JAX holds {self.source_dtype} only under "
            "jax_enable_x64; set that, scale the value in a stage, or use output='numpy'"
        )

    def _changed(self, values: np.ndarray, converted: np.ndarray) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            if self.dtype.kind in "iu":
                return converted != values
            return np.isinf(converted) & ~np.isinf(values)


@dataclass(frozen=True)
class Layout:
    """Where the arrays of one batch lie in its block of memory.

    Attributes:
        fields: the array fields, in the first record's order; each begins at a multiple of 64 bytes.
        info: names of the fields that are no arrays, in the first record's order.
        batch_size: rows for which the block has room.
        block_bytes: size of the block, a multiple of 64.
    """

    fields: tuple[FieldSpec, ...]
    info: tuple[Path, ...]
    batch_size: int
    block_bytes: int

    @classmethod
    def of(
        cls,
        record: Any,
        *,
        number: int,
        batch_size: int,
        x64: bool | None,
        bounds: Mapping[Path, int] | None = None,
        varying: Collection[Path] = (),
    ) -> Layout:
        """The layout that a first record fixes; see ``of_parts``.

        Raises:
            RecordError: the record is of no known kind, holds no array, or has a dtype that JAX lacks.
        """
        arrays, info = split_record(record, number)
        return cls.of_parts(arrays, info, number=number, batch_size=batch_size, x64=x64, bounds=bounds, varying=varying)

    @classmethod
    def of_parts(
        cls,
        arrays: Arrays,
        info: Collection[Path],
        *,
        number: int,
        batch_size: int,
        x64: bool | None,
        bounds: Mapping[Path, int] | None = None,
        varying: Collection[Path] = (),
        may_be_empty: bool = False,
    ) -> Layout:
        """The layout that a first record fixes.

        Args:
            arrays: the first record's arrays, after the host stages.
            info: its fields that are no arrays.
            number: its number, for messages.
            batch_size: rows in a batch.
            x64: whether JAX holds 64-bit types; None keeps every dtype as it is (NumPy output).
            bounds: for each ragged field, the most that a record may have along its first axis.
            varying: the fields whose arrays may be smaller from batch to batch.
            may_be_empty: whether it is all right that there is no array, because a stage is to make one.

        Raises:
            RecordError: there is no array, or one has a dtype that JAX lacks.
        """
        if not arrays and not may_be_empty:
            names = ", ".join(map(field_name, info)) or "nothing"
            raise RecordError(
                f"record {number}: expected at least one array or number, found only {names}. "
                "Add a stage that makes an array of it (a tokenizer, a decoder)"
            )
        fields: list[FieldSpec] = []
        bounds = bounds or {}
        offset = 0
        for path, array in arrays.items():
            try:
                dtype = array.dtype if x64 is None else jax_dtype(array.dtype, x64=x64)
            except TypeError as error:
                raise RecordError(f"record {number}, field '{field_name(path)}': {error}") from None
            shape = (bounds[path], *array.shape[1:]) if path in bounds else array.shape
            fields.append(FieldSpec(path, shape, array.dtype, dtype, offset, path in bounds, path in varying))
            offset += align(batch_size * fields[-1].row_bytes)
        return cls(tuple(fields), tuple(info), batch_size, max(offset, ALIGNMENT))

    def rows(
        self, memory: Any, start: int, rows: int, shapes: Sequence[tuple[int, ...]] | None = None
    ) -> list[np.ndarray]:
        """Map the first ``rows`` rows of every field of the block at byte ``start``, without a copy.

        ``shapes`` are the rows' shapes in a batch whose arrays are smaller than the layout says.
        """
        if shapes is None:
            return [np.ndarray((rows, *spec.shape), spec.dtype, memory, start + spec.offset) for spec in self.fields]
        return [
            np.ndarray((rows, *shape), spec.dtype, memory, start + spec.offset)
            for spec, shape in zip(self.fields, shapes, strict=True)
        ]

    def stacked_rows(self, memory: Any, start: int, blocks: int) -> list[np.ndarray]:
        """Map all rows of every field of several blocks, the first at byte ``start``, as ``(blocks, rows, ...)``."""
        return [
            np.ndarray(
                (blocks, *rows.shape), rows.dtype, memory, start + spec.offset, (self.block_bytes, *rows.strides)
            )
            for spec, rows in zip(self.fields, self.rows(memory, start, self.batch_size), strict=True)
        ]

    def tree_maker(self) -> Callable[[Iterable[Any]], dict[str, Any]]:
        """A function that gives the fields' values their names, nested as the records were."""
        paths = [spec.path for spec in self.fields]
        if all(len(path) == 1 for path in paths):  # much the cheaper way, once per batch
            names = [path[0] for path in paths]
            return lambda leaves: dict(zip(names, leaves, strict=True))
        return lambda leaves: nest(dict(zip(paths, leaves, strict=True)))

    def check_names(self, arrays: Arrays, info: Mapping[Path, Any], number: int) -> None:
        """Make sure that a record has the fields of the first.

        Raises:
            RecordError: a field is missing, is new, or is no array any more.
        """
        for spec in self.fields:
            if spec.path not in arrays:
                if spec.path in info:
                    found = _no_array(info[spec.path])
                else:
                    found = f"no such field among {sorted(map(field_name, [*arrays, *info]))}"
                raise RecordError(
                    f"record {number}, field '{field_name(spec.path)}': expected an array of shape {spec.shape} and "
                    f"dtype {spec.source_dtype} as in the first record, found {found}"
                )
        surplus = [path for path in arrays if all(path != spec.path for spec in self.fields)]
        surplus += [path for path in info if path not in self.info]
        missing = [path for path in self.info if path not in info]
        if surplus or missing:
            path = (surplus + missing)[0]
            known = sorted([field_name(spec.path) for spec in self.fields] + [field_name(path) for path in self.info])
            found = "a field that the first record lacks" if surplus else "no such field"
            raise RecordError(
                f"record {number}, field '{field_name(path)}': expected the first record's fields {known}, "
                f"found {found}"
            )


def _no_array(value: Any) -> str:
    """What stands where an array should, and what to do about it."""
    if is_null(value):
        return (
            f"{value!r}, which is no number. Put a number there that says so (0, -1, np.nan) in the source or in a "
            "stage, or leave such records out with Filter"
        )
    why = ", whose items are no numbers or of unequal shape" if isinstance(value, (list, tuple)) else ""
    return (
        f"a {type(value).__name__}{why}, which is no array. A field is an array in all records or in none: convert it "
        "in the source or in a stage"
    )
