"""MemorySource: records that are in memory already."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import VALUE_FIELD, Arrays, Infos, Path, RecordError, field_name, flatten, nest
from datarax_mp.core.values import as_info, is_bytes
from datarax_mp.order import Order
from datarax_mp.sources.columns import ArrayColumn, Column, ObjectColumn, as_column, as_rows, place
from datarax_mp.sources.config import MemorySourceConfig
from datarax_mp.sources.seed import draw_seed
from datarax_mp.sources.tables import columns_of, is_array


class MemorySource:
    """Records from a dict of columns or a sequence of records.

    Worker processes share one copy of the data, however many workers and pipelines there are: it is placed in shared
    memory when the first pipeline with workers needs it, and is served from there from then on. Columns that are
    ``np.memmap`` stay in their file. A record's arrays are read-only views, so that a stage cannot change the data of
    others; copy before writing. What is written to an array that was given here holds from the next epoch on, for any
    number of workers; finding out takes some 50 ms a GB, for as long as the array exists and is writeable. A list and
    its records are taken over: do not change them afterwards.

    Args:
        config: how to serve the records.
        data: columns of equal length: a dict (of NumPy or JAX arrays, memmaps, tensors, Series, lists, arrays of zarr
            or HDF5, which are read; dicts may nest), a pandas or polars DataFrame, an Arrow table, an open npz or HDF5
            file. Or an array whose rows are the records. Or a sequence of records, each a mapping, an object with
            named fields, an array or a scalar. Text and other objects are columns, too, of what is no array.
        rngs: where the shuffle's seed is drawn from, for each pipeline anew: an ``nnx.Rngs`` with a ``shuffle`` or a
            default stream, or an ``np.random.Generator``.
        name: how messages and metadata call it.

    Raises:
        TypeError: ``data`` is text, or no table, array or sequence; or a tuple of equally long arrays.
        ValueError: columns of unequal length, or no column at all.
        RecordError: a column looks like numbers and cannot become an array without loss: masked values, nulls, a
            structured or sparse array.

    >>> source = MemorySource(MemorySourceConfig(), {"x": np.arange(6).reshape(3, 2), "label": [0, 1, 0]})
    >>> len(source), source[-1]["x"].tolist()
    (3, [4, 5])
    """

    def __init__(self, config: MemorySourceConfig, data: Any, *, rngs: Any = None, name: str | None = None) -> None:
        self.config = config
        self.rngs = rngs
        self.name = name or "memory"
        self._columns: dict[Path, Column] = _columns_of(data)
        # One anonymous column holds whole records; named columns hold their fields.
        self._whole_records = () in self._columns
        self._bare_values = columns_of(data) is None and VALUE_FIELD in self._columns
        self._length = len(next(iter(self._columns.values())))
        self._seed: int | None = None
        self._epoch = 0
        self._position = 0

    def __len__(self) -> int:
        """Records in the whole source, all shards together."""
        return self._length

    def __getitem__(self, number: int) -> Any:
        """One record, by its number in the whole source; negative numbers count from the end.

        Raises:
            IndexError: there is no such record.
        """
        if not -self._length <= number < self._length:
            raise IndexError(f"record {number} is outside of the source's {self._length} records")
        number = int(number) % self._length
        if self._whole_records:
            return self._columns[()][number]
        if self._bare_values:
            return self._columns[VALUE_FIELD][number]
        return nest({path: column[number] for path, column in self._columns.items()})

    def __iter__(self) -> Iterator[Any]:
        """The records of this shard, in the order of an epoch; shuffled anew each time if the source shuffles."""
        order, epoch = self._order(), self._epoch
        self._epoch += 1
        for step in range(len(order)):
            yield self[int(order.records(epoch, step)[0])]

    def get_batch(self, n: int) -> dict[str, Any]:
        """The next ``n`` records of this shard, stacked; fewer at the end of the epoch, none after it.

        Returns:
            A dict of arrays ``(rows, ...)``; fields that are no arrays come as lists.

        Raises:
            ValueError: ``n`` is below 1.
            TypeError: the source was made of a sequence of records rather than of columns.
        """
        if n < 1:
            raise ValueError(f"get_batch needs n >= 1, got {n}")
        if self._whole_records:
            raise TypeError("get_batch needs columns; a source made of a list of records yields them one by one")
        order = self._order()
        rows = min(n, len(order) - self._position)
        numbers = order.records(self._epoch, self._position, rows)
        self._position += rows
        return nest(
            {
                path: column.array[numbers] if isinstance(column, ArrayColumn) else [column[int(i)] for i in numbers]
                for path, column in self._columns.items()
            }
        )

    def reset(self) -> None:
        """Start ``get_batch`` at the beginning of the next epoch."""
        self._position = 0
        self._epoch += 1

    def place(self) -> None:
        """Move the data to where worker processes can map it; later calls only look for changes in the user's arrays.

        Raises:
            SharedMemoryError: there is too little shared memory.
            TypeError: a record does not pickle.
        """
        place(list(self._columns.values()), f"the data of source '{self.name}'")

    def homes(self) -> tuple[Any, ...]:
        """Where the data lies for workers; other values where it has been placed anew."""
        parts = [
            part
            for column in self._columns.values()
            for part in (column.packed or () if isinstance(column, ObjectColumn) else (column,))
        ]
        return tuple(part.home for part in parts)

    def refresh(self) -> None:
        """If the data has been moved, look for changes in the user's arrays."""
        if any(isinstance(column, ArrayColumn) and column.original is not None for column in self._columns.values()):
            self.place()

    def reads_columns(self, fields: Iterable[Path]) -> bool:
        """Whether ``read_into`` can fill these fields: each is a column of one array, not of an object per record."""
        if self._whole_records:
            return False
        return all(isinstance(self._columns.get(path), ArrayColumn) for path in fields)

    def read_into(self, numbers: NDArray[np.int64], out: Arrays) -> Infos | None:
        """Gather records straight into memory.

        Args:
            numbers: int64 ``(rows,)``, record numbers, each in range.
            out: for each array column an array ``(rows, ...)`` of the column's dtype, which is filled.

        Returns:
            What is no array: for each field a list of ``rows`` values; None when all columns are arrays.
        """
        objects: dict[Path, ObjectColumn] = {}
        rows = as_rows(numbers)
        for path, column in self._columns.items():
            if isinstance(column, ArrayColumn):
                column.take(rows, out[path])
            else:
                objects[path] = column
        if not objects:
            return None
        wanted = numbers.tolist()
        return {path: [as_info(column[number]) for number in wanted] for path, column in objects.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "rngs": None}  # a stream's position belongs to the process that draws from it

    def __repr__(self) -> str:
        fields = ", ".join(map(field_name, self._columns)) or "records"
        return f"MemorySource({self.name!r}, {self._length} records: {fields})"

    def _order(self) -> Order:
        if self.config.shuffle and self._seed is None:
            if self.rngs is None:
                raise ValueError("shuffle=True needs rngs: MemorySource(..., rngs=nnx.Rngs(0))")
            self._seed = draw_seed(self.rngs)
        return Order(
            self._length,
            1,
            self.config.shuffle,
            self._seed or 0,
            offset=self.config.shard_id or 0,
            stride=self.config.num_workers,
        )


def _columns_of(data: Any) -> dict[Path, Column]:
    if isinstance(data, str) or is_bytes(data):
        raise TypeError(f"data must be a dict of columns or a sequence of records, not {type(data).__name__}")
    _check_no_transposition(data)
    table = columns_of(data)
    if table is not None:
        try:
            leaves = flatten(table)
        except RecordError as error:
            raise TypeError(f"a {type(data).__name__} is read as columns by name: {error}") from None
        columns = {path: as_column(_sized(path, values), path) for path, values in leaves.items()}
        if not columns:
            raise ValueError("data holds no column; expected a dict such as {'image': images, 'label': labels}")
        lengths = {field_name(path): len(column) for path, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns must have equal length, found {lengths}")
        return columns
    if is_array(data):
        return {VALUE_FIELD: as_column(_sized(VALUE_FIELD, data), VALUE_FIELD)}
    if isinstance(data, Sequence) or (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        return {(): ObjectColumn(data)}
    raise TypeError(f"data must be a dict of columns or a sequence of records, not {type(data).__name__}")


_MOST_COLUMNS = 8  # a longer tuple of arrays is more likely one of records


def _check_no_transposition(data: Any) -> None:
    """Refuse ``(X, y)``: it would be two records, and whoever writes it means two columns.

    Raises:
        TypeError: it is a tuple, or a list of arrays of different rank, whose arrays are equally long.
    """
    if type(data) not in (list, tuple) or not 2 <= len(data) <= _MOST_COLUMNS:
        return
    shapes = [tuple(getattr(item, "shape", ())) for item in data]
    lengths = {shape[0] if shape else None for shape in shapes}
    if len(lengths) > 1 or None in lengths or (type(data) is list and len(set(map(len, shapes))) == 1):
        return
    names = [f"'field {place}': data[{place}]" for place in range(len(data))]
    raise TypeError(
        f"a {type(data).__name__} of {len(data)} arrays, each {lengths.pop()} long, would be read as {len(data)} "
        f"records. Columns need names: {{{', '.join(names)}}}, such as {{'image': X, 'label': y}}; if these are the "
        "records, pass np.stack(data) or a list of dicts"
    )


def _sized(path: Path, values: Any) -> Any:
    kind = type(values)
    # An array may have no __len__ (zarr), and a sparse matrix has one that raises.
    single = isinstance(values, str) or is_bytes(values) or getattr(values, "shape", None) == ()
    if single or not (hasattr(kind, "__getitem__") or hasattr(kind, "shape")):
        raise TypeError(f"column '{field_name(path)}' must be an array or a list, not {kind.__name__}")
    return values
