"""MemorySource: records that are in memory already."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import VALUE_FIELD, Arrays, Infos, Path, field_name, nest, split_record
from datarax_mp.core.values import as_info
from datarax_mp.order import Order, in_order_or_shuffled
from datarax_mp.sources.columns import ArrayColumn, Column, ObjectColumn, as_rows, place
from datarax_mp.sources.config import MemorySourceConfig as MemorySourceConfig
from datarax_mp.sources.data import as_columns
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.position import Number
from datarax_mp.sources.seed import check_seed, draw_seed
from datarax_mp.sources.tables import columns_of
from datarax_mp.sources.traced import is_traced, traced_rows

if TYPE_CHECKING:
    from datarax_mp.core.metadata import RecordMetadata


class MemorySource(SaysFacts):
    """Records from a dict of columns or a sequence of records.

    Worker processes share one copy of the data, however many workers and pipelines there are: it is placed in shared
    memory when the first pipeline with workers needs it, and is served from there from then on. Columns that are
    ``np.memmap`` stay in their file. A record's arrays are read-only views, so that a stage cannot change the data of
    others; copy before writing. Records that are Python objects, in a list, are copied each time they are read, so that
    a stage may change what it is given. What is written to an array that was given here (or an ``array.array``, a
    ``mmap``) holds from the next epoch on, for any number of workers; finding out takes some 50 ms a GB, for as long as
    the array exists and is writeable. What is written to a tensor or a ``bytearray`` holds only as long as the data has
    not been placed. A list and its records are taken over: do not change them afterwards.

    Args:
        config: how to serve the records.
        data: columns of equal length: a dict (of NumPy or JAX arrays, memmaps, tensors, Series, lists, arrays of zarr
            or HDF5, which are read; dicts may nest; a number or a text beside them is the same for every record), a
            pandas or polars DataFrame, an Arrow table, an open npz or HDF5 file. Or an array whose rows are the
            records. Or a sequence of records, each a mapping, an object with named fields, an array or a scalar. Text
            and other objects are columns, too, of what is no array.
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
        self._columns: dict[Path, Column] = as_columns(data)
        # One anonymous column holds whole records; named columns hold their fields.
        self._whole_records = () in self._columns
        self._bare_values = columns_of(data) is None and VALUE_FIELD in self._columns
        self._length = len(next(iter(self._columns.values())))
        self._seed: int | None = None
        self._epoch, self._index = Number(), Number()

    def __len__(self) -> int:
        """Records in the whole source, all shards together."""
        return self._length

    def __getitem__(self, number: int) -> Any:
        """One record, by its number in the whole source; negative numbers count from the end.

        Raises:
            IndexError: there is no such record.
        """
        number = self._checked(number)
        if self._whole_records:
            return self._columns[()][number]
        if self._bare_values:
            return self._columns[VALUE_FIELD][number]
        return nest({path: column[number] for path, column in self._columns.items()})

    def lend(self, number: int) -> Any:
        """The same record for who changes nothing in it: what has not been placed is not copied."""
        whole = self._columns.get(())
        return whole.lend(self._checked(number)) if isinstance(whole, ObjectColumn) else self[number]

    def _checked(self, number: int) -> int:
        if not -self._length <= number < self._length:
            raise IndexError(f"record {number} is outside of the source's {self._length} records")
        return int(number) % self._length

    def __iter__(self) -> Iterator[Any]:
        """The records of this shard, in the order of an epoch; shuffled anew each time if the source shuffles."""
        order, epoch = self._order(), self._epoch.get()
        self._epoch.set(epoch + 1)
        for step in range(len(order)):
            yield self[int(order.records(epoch, step)[0])]

    # --- batches, as a loop without a pipeline asks for them

    def get_batch(self, batch_size: int, key: Any = None) -> Any:
        """The next records of this shard, stacked; fewer at the end of an epoch, after which the next one begins.

        Args:
            batch_size: how many.
            key: a ``jax.random.key``; then these are records drawn by it alone, none twice, and the source stays where
                it is. May be traced.

        Returns:
            A dict of arrays ``(rows, ...)``; fields that are no arrays come as lists. Of a source made of a sequence of
            records, a list of them.

        Raises:
            ValueError: ``batch_size`` is below 1.

        >>> source = MemorySource(MemorySourceConfig(), {"x": np.arange(3)})
        >>> [source.get_batch(2)["x"].tolist() for _ in range(3)], source.epoch.get_value()
        ([[0, 1], [2], [0, 1]], 1)
        """
        return self._stacked(self._next(batch_size, key))

    def get_batch_at(self, start: Any, size: int, key: Any = None) -> Any:
        """``size`` records of this shard from a place on, beginning anew at its end; the source stays where it is.

        Args:
            start: the place of the first one, from 0. May be traced, for instance in ``lax.scan``: then the columns are
                constants of the compiled function, so it is for data that fits on the device.
            size: how many.
            key: a ``jax.random.key``, by which the places of a source that shuffles are permuted. May be traced.

        Returns:
            As ``get_batch``; of JAX's arrays in a trace.

        Raises:
            TypeError: in a trace, when a field is no array.
            OverflowError: in a trace, when a column holds integers that JAX's do not (see ``jax_enable_x64``).

        >>> MemorySource(MemorySourceConfig(), {"x": np.arange(3)}).get_batch_at(2, 3)["x"].tolist()
        [2, 0, 1]
        """
        if is_traced(start, key):
            import jax.numpy as jnp  # delayed: whoever traces has imported it

            places = (start + jnp.arange(size)) % self._places
        else:
            places = (operator.index(start) + np.arange(size)) % self._places
        if self.config.shuffle and key is not None:
            places = self._permutation(key)[places]
        return self._stacked(self._numbers(places))

    def _next(self, batch_size: int, key: Any) -> Any:
        """The numbers of the next records, or those that a key draws."""
        if batch_size < 1:
            raise ValueError(f"get_batch needs batch_size >= 1, got {batch_size}")
        if key is not None:
            return self._numbers(self._permutation(key)[:batch_size])
        order, epoch, index = self._order(), self._epoch.get(), self._index.get()
        rows = min(batch_size, len(order) - index)
        ends = index + rows == len(order)
        self._index.set(0 if ends else index + rows)
        self._epoch.set(epoch + ends)
        return order.records(epoch, index, rows)

    @property
    def _places(self) -> int:
        return len(range(self.config.shard_id or 0, self._length, self.config.num_workers))

    def _numbers(self, places: Any) -> Any:
        return (self.config.shard_id or 0) + places * self.config.num_workers

    def _permutation(self, key: Any) -> Any:
        import jax  # delayed: whoever has a key has imported it

        order = jax.random.permutation(key, self._places)
        return order if is_traced(order) else np.asarray(order)

    def _stacked(self, numbers: Any) -> Any:
        return traced_rows(self._columns, numbers) if is_traced(numbers) else self.take(numbers)

    def take(self, numbers: NDArray[np.int64]) -> Any:
        """Records by their numbers, stacked, as a dict of arrays and lists; or a list of them, see ``get_batch``."""
        if self._whole_records:
            return [self._columns[()][number] for number in numbers.tolist()]
        return nest(
            {
                path: column.array[numbers]
                if isinstance(column, ArrayColumn)
                else [column[n] for n in numbers.tolist()]
                for path, column in self._columns.items()
            }
        )

    # --- where it stands

    @property
    def index(self) -> Any:
        """The place of ``get_batch``'s next record in the epoch, an ``nnx.Variable``."""
        return self._index.variable()

    @property
    def epoch(self) -> Any:
        """The epoch of ``get_batch`` and of iterating over the source, an ``nnx.Variable``. A pipeline has its own."""
        return self._epoch.variable()

    def reset(self, seed: int | None = None) -> None:
        """Begin epoch 0 again, with the same permutations, or those of another seed.

        What is reset is ``get_batch`` and iterating over the source; a pipeline draws its own seed.
        """
        if seed is not None:
            self._seed = check_seed(seed)
        self._index.set(0)
        self._epoch.set(0)

    @property
    def is_random_order(self) -> bool:
        """Whether it shuffles."""
        return self.config.shuffle

    def set_random_order(self, shuffle: bool) -> None:
        """Make it shuffle, or not. A pipeline asks when it is made."""
        self.config = replace(self.config, shuffle=shuffle)

    # --- what is known about the records

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        config = self.config
        return SourceFacts(
            self.name,
            config.shuffle,
            config.shard_id or 0,
            config.num_workers,
            self.rngs,
            track_name=self.name if config.track_metadata else None,
            user_code=False,
        )

    @property
    def has_metadata(self) -> bool:
        """Whether it gives metadata: ``MemorySourceConfig(track_metadata=True)``."""
        return self.config.track_metadata

    def get_with_metadata(self, number: int) -> tuple[Any, RecordMetadata]:
        """One record, and what is known about it.

        Raises:
            IndexError: there is no such record.
            RuntimeError: the source's config has no ``track_metadata=True``.
        """
        self._check_tracked()
        return self[number], self._metadata(int(number) % self._length, self._epoch.get())

    def get_batch_with_metadata(self, batch_size: int, key: Any = None) -> tuple[Any, list[RecordMetadata]]:
        """``get_batch``, and what is known about each of the records.

        Raises:
            ValueError: ``batch_size`` is below 1.
            RuntimeError: the source's config has no ``track_metadata=True``.
        """
        self._check_tracked()
        epoch = self._epoch.get()
        numbers = self._next(batch_size, key)
        return self._stacked(numbers), [self._metadata(number, epoch) for number in numbers.tolist()]

    def _check_tracked(self) -> None:
        if not self.has_metadata:
            raise RuntimeError(
                f"source '{self.name}' tracks no metadata; make it with MemorySourceConfig(track_metadata=True)"
            )

    def _metadata(self, number: int, epoch: int) -> RecordMetadata:
        from datarax_mp.core.metadata import RecordMetadata  # delayed: it imports JAX

        key, shard = f"{self.name}:{number}", self.config.shard_id
        return RecordMetadata(number, key, epoch=epoch, shard_id=shard, source_info={"source": self.name})

    def element_spec(self) -> Any:
        """What a record's arrays are like, as a tree of ``jax.ShapeDtypeStruct``; text and other objects are left out.

        >>> MemorySource(MemorySourceConfig(), {"x": np.zeros((3, 2), np.float32)}).element_spec()
        {'x': ShapeDtypeStruct(shape=(2,), dtype=float32)}
        """
        import jax  # delayed: workers have sources, and never ask

        if self._whole_records:
            arrays, _ = split_record(self[0], 0)
        else:
            arrays = {path: column[0] for path, column in self._columns.items() if isinstance(column, ArrayColumn)}
        spec = {path: jax.ShapeDtypeStruct(array.shape, array.dtype) for path, array in arrays.items()}
        return spec[VALUE_FIELD] if self._bare_values else nest(spec)

    def place(self) -> None:
        """Move the data to where worker processes can map it; later calls only look for changes in the user's arrays.

        Raises:
            SharedMemoryError: there is too little shared memory.
            TypeError: a record does not pickle.
        """
        place(self.columns, f"the data of source '{self.name}'")

    @property
    def columns(self) -> list[Column]:
        """What the records are made of."""
        return list(self._columns.values())

    def is_placed(self) -> bool:
        """Whether all of it lies where worker processes can map it."""
        return all(column.is_placed() for column in self.columns)

    def refresh(self) -> None:
        """If the data has been moved, look for changes in the user's arrays."""
        if any(isinstance(column, ArrayColumn) and column.original is not None for column in self._columns.values()):
            self.place()

    @property
    def columns_by_path(self) -> Mapping[Path, Column]:
        """What it holds, by path; whole records are one column without a name."""
        return self._columns

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
            in_order_or_shuffled(self._length, shuffle=self.config.shuffle),
            batch_size=1,
            seed=self._seed or 0,
            offset=self.config.shard_id or 0,
            stride=self.config.num_workers,
        )


def place_together(sources: Sequence[MemorySource]) -> None:
    """``place`` for several sources, whose columns come to lie in few segments.

    Raises:
        SharedMemoryError: there is too little shared memory.
        TypeError: a record does not pickle.
    """
    if len(sources) == 1:
        sources[0].place()
    else:
        place([column for source in sources for column in source.columns], f"the data of {len(sources)} sources")
