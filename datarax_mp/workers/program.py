"""What a worker does: read the records of a step, run the host stages, write the batch into its block of memory.

A ``Program`` is the whole recipe, the same object for a worker process and for the calling process when there are no
workers, so that both produce the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.pickling import dumps
from datarax_mp.core.spec import Layout, Path, RecordError, as_array, field_name, flatten, nest, split_record
from datarax_mp.order import Order
from datarax_mp.sources.adapt import Source
from datarax_mp.stages.host import Generators, HostStage, MapBatch, MapElement, stage_name


class Program:
    """Source, host stages and order.

    Args:
        source: where records are read from.
        stages: host stages; all that take single records come before those that take batches.
        order: which record goes where.
        x64: whether JAX holds 64-bit types; None when the output is NumPy and every dtype stays.
        pad_last: whether the rows that the last batch lacks are filled with zeros.
    """

    def __init__(
        self, source: Source, stages: tuple[HostStage, ...], order: Order, *, x64: bool | None, pad_last: bool = False
    ) -> None:
        self.source = source
        self.order = order
        self.x64 = x64
        self.pad_last = pad_last
        # A batch size above what there is gives one short batch; a slot need not be larger than that.
        self._rows = order.batch_size if pad_last else min(order.batch_size, max(order.shard_length, 1))
        self.element_stages = [stage for stage in stages if not isinstance(stage, MapBatch)]
        self.batch_stages = [stage for stage in stages if isinstance(stage, MapBatch)]
        self.layout: Layout | None = None
        self._collated: Layout | None = None  # before the batch stages

    def probe(self) -> Layout:
        """Read the first record of the shard, run the stages, and fix the layout by what comes out.

        Raises:
            RecordError: the record is of no known kind or holds no array.
        """
        number = self.order.shard_index
        record = self._records(0, np.array([number]))[0]
        if not self.batch_stages:
            return Layout.of(record, number=number, batch_size=self._rows, x64=self.x64)
        collated = Layout.of(record, number=number, batch_size=self._rows, x64=None)
        arrays, info = split_record(record, number)
        batch = self._batch_stages({path: array[None] for path, array in arrays.items()}, 1, np.array([number]))
        first = nest({**{path: rows[0] for path, rows in batch.items()}, **info})
        self._collated = collated
        return Layout.of(first, number=number, batch_size=self._rows, x64=self.x64)

    def write(self, memory: Any, start: int, epoch: int, step: int, steps: int) -> tuple[bytes | None, ...]:
        """Write consecutive batches, the first at byte ``start``, each in a block of its own.

        Returns:
            For each step its records' info, pickled, or None.

        Raises:
            Exception: what the source or a stage raised, with a note that says where; its attribute
                ``completed_infos`` holds the return value for the steps before.
        """
        assert self.layout is not None
        infos: list[bytes | None] = []
        numbers = self.order.records(epoch, step, steps)
        for done in range(steps):
            rows = self.order.rows(step + done)
            first = done * self.order.batch_size
            try:
                info = self._write_batch(memory, start, epoch, numbers[first : first + rows])
                infos.append(None if info is None else dumps(info))
            except Exception as error:
                error.add_note(f"(step {step + done} of epoch {epoch})")
                error.completed_infos = tuple(infos)  # type: ignore[attr-defined]
                raise
            start += self.layout.block_bytes
        return tuple(infos)

    def _write_batch(
        self, memory: Any, start: int, epoch: int, numbers: NDArray[np.int64]
    ) -> list[dict[Path, Any]] | None:
        layout = self.layout
        assert layout is not None
        rows = len(numbers)
        out = layout.rows(memory, start, rows)
        # A narrowing conversion is checked value by value, so such fields take a detour through their own dtype.
        targets = {
            spec.path: rows_out if spec.dtype == spec.source_dtype else np.empty(rows_out.shape, spec.source_dtype)
            for spec, rows_out in zip(layout.fields, out, strict=True)
        }
        if self.batch_stages:
            info = self._write_stacked(epoch, numbers, targets)
        elif not self.element_stages and getattr(self.source, "reads_columns", False):
            info = self.source.read_into(numbers, targets)  # type: ignore[attr-defined]
        else:
            info = self._collate(layout, self._records(epoch, numbers), numbers, targets)
        for spec, rows_out in zip(layout.fields, out, strict=True):
            if targets[spec.path] is not rows_out:
                spec.convert(targets[spec.path], rows_out, numbers)
        if self.pad_last and rows < layout.batch_size:
            for whole in layout.rows(memory, start, layout.batch_size):
                whole[rows:] = 0
        return info

    def _records(self, epoch: int, numbers: NDArray[np.int64]) -> list[Any]:
        records = self._read(numbers)
        for place, stage in enumerate(self.element_stages):
            generators = Generators(self.order.seed, epoch, place)
            for row, number in enumerate(numbers.tolist()):
                try:
                    if isinstance(stage, MapElement):
                        records[row] = stage.fn(records[row])
                    else:
                        # Never bound to a name here, so that the next one may reuse it.
                        records[row] = stage.fn(records[row], generators.of(number))  # type: ignore[call-arg, arg-type]
                except Exception as error:
                    error.add_note(f"while stage {stage_name(stage)} worked on record {number}")
                    raise
        return records

    def _read(self, numbers: NDArray[np.int64]) -> list[Any]:
        wanted = numbers.tolist()
        if hasattr(self.source, "__getitems__"):
            try:
                records = list(self.source.__getitems__(wanted))
            except Exception as error:
                error.add_note(f"while reading records {wanted} of {type(self.source).__name__}")
                raise
            if len(records) != len(wanted):
                raise RecordError(
                    f"{type(self.source).__name__}.__getitems__ was asked for {len(wanted)} records {wanted} and "
                    f"returned {len(records)}"
                )
            return records
        records = []
        for number in wanted:
            try:
                records.append(self.source[number])
            except Exception as error:
                error.add_note(f"while reading record {number} of {type(self.source).__name__}")
                raise
        return records

    def _collate(
        self, layout: Layout, records: list[Any], numbers: NDArray[np.int64], targets: Mapping[Path, np.ndarray]
    ) -> list[dict[Path, Any]] | None:
        infos = []
        for row, number in enumerate(numbers.tolist()):
            arrays, info = split_record(records[row], number)
            if len(arrays) != len(layout.fields) or info.keys() != layout.info:
                layout.check_names(arrays, info, number)
            for spec in layout.fields:
                array = arrays.get(spec.path)
                if array is None:
                    layout.check_names(arrays, info, number)
                assert array is not None
                if array.shape != spec.shape or array.dtype != spec.source_dtype:
                    spec.check(array, number)
                targets[spec.path][row] = array
            infos.append(info)
        return infos if layout.info else None

    def _write_stacked(
        self, epoch: int, numbers: NDArray[np.int64], targets: Mapping[Path, np.ndarray]
    ) -> list[dict[Path, Any]] | None:
        layout = self.layout
        if self._collated is None:
            self.probe()
        assert layout is not None and self._collated is not None
        rows = len(numbers)
        stacked = {spec.path: np.empty((rows, *spec.shape), spec.source_dtype) for spec in self._collated.fields}
        info = self._collate(self._collated, self._records(epoch, numbers), numbers, stacked)
        batch = self._batch_stages(stacked, rows, numbers)
        layout.check_names(batch, dict.fromkeys(layout.info), int(numbers[0]))
        for spec in layout.fields:
            spec.check(batch[spec.path][0], int(numbers[0]))  # the rows of one array are all alike
            np.copyto(targets[spec.path], batch[spec.path], casting="safe")
        return info

    def _batch_stages(
        self, stacked: dict[Path, np.ndarray], rows: int, numbers: NDArray[np.int64]
    ) -> dict[Path, np.ndarray]:
        for stage in self.batch_stages:
            name = stage_name(stage)
            try:
                result = stage.fn(nest(stacked))
            except Exception as error:
                error.add_note(f"while stage {name} worked on the batch of records {numbers.tolist()}")
                raise
            if not isinstance(result, Mapping):
                raise RecordError(f"stage {name} must return a dict of arrays, it returned {type(result).__name__}")
            stacked = {}
            for path, value in flatten(result).items():
                array = as_array(value, int(numbers[0]), path)
                if array is None or array.ndim == 0 or len(array) != rows:
                    found = type(value).__name__ if array is None else f"shape {array.shape}"
                    raise RecordError(
                        f"stage {name}, field '{field_name(path)}': expected an array of {rows} rows, found {found}"
                    )
                stacked[path] = array
        return stacked
