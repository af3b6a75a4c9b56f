"""What a worker does: read the records of a step, run the host stages, write the batch into its block of memory.

A ``Program`` is the whole recipe, the same object for a worker process and for the calling process when there are no
workers, so that both produce the same bytes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.errors import EXITS, RemoteError, one_line
from datarax_mp.core.notes import add_note
from datarax_mp.core.pickling import dumps
from datarax_mp.core.record import Arrays, Infos, RecordError, split_record
from datarax_mp.core.refusals import note_shortage
from datarax_mp.core.spec import Layout
from datarax_mp.core.strays import claimed, is_stray
from datarax_mp.order import Order
from datarax_mp.recipe import recorder
from datarax_mp.recipe.narrowing import drop_misfits
from datarax_mp.recipe.padding import Lengths, Padding, shrunk, smaller
from datarax_mp.recipe.reading import Columns, Reader, Reading
from datarax_mp.recipe.record_stages import RecordStages
from datarax_mp.recipe.recorder import PHASE, RECORD, WHOLE_BATCH, Phase
from datarax_mp.recipe.rows import Rows
from datarax_mp.recipe.stacked import apply as stacked_stages
from datarax_mp.recipe.user_code import Seeder, UserCode, WorkerInit
from datarax_mp.recipe.work import Done, Failed, Run, Shapes, Skip, Written
from datarax_mp.sources.adapt import Source, quick_way
from datarax_mp.sources.memory import MemorySource
from datarax_mp.stages.host import HostStage, MapBatch
from datarax_mp.stages.pad import Pad

log = logging.getLogger("datarax_mp")

_PROBES = 64  # with on_error="skip": so many records in a row that all fail are no accident


class Program:
    """Source, host stages and order.

    Args:
        source: where records are read from.
        stages: host stages; first those that take single records, then those that pad, then those that take batches.
        order: which record goes where.
        x64: whether JAX holds 64-bit types; None when the output is NumPy and every dtype stays.
        pad: whether the rows that a short batch lacks are filled with zeros.
        skip: whether a record for which something is raised is left out, instead of ending the epoch.
        reading: how records are read.
        init: called once in every process that reads records, or None.

    Attributes:
        layout: what a batch holds; known when ``fix`` has been told.
        user_code: what there is of the user's in the source and the stages.
    """

    def __init__(
        self,
        source: Source,
        stages: tuple[HostStage, ...],
        order: Order,
        *,
        x64: bool | None,
        pad: bool = False,
        skip: bool = False,
        reading: Reading = Reading(),  # noqa: B008 - a frozen value
        init: WorkerInit | None = None,
    ) -> None:
        self.source = source
        self.order = order
        self.x64 = x64
        self.pad = pad
        self.skip = skip
        # A batch size above what there is gives one short batch; a slot need not be larger than that.
        self._rows = order.batch_size if pad else min(order.batch_size, max(order.places, 1))
        self.stages = stages
        self._record_stages = RecordStages(stages, order.seed)
        self.batch_stages = [stage for stage in stages if isinstance(stage, MapBatch)]
        self._first_batch_stage = len(stages) - len(self.batch_stages)
        self._pads = [stage for stage in stages if isinstance(stage, Pad)]
        self._padding: Padding | None = None
        self._as_read = not self._record_stages and not self._pads  # before the batch stages
        self._reader = Reader(source, reading, skip=skip)
        self._reads_columns = False
        self.user_code = UserCode(source, stages, order.seed, init)
        self.layout: Layout | None = None

    def fix(self, layout: Layout) -> None:
        """Write batches as the layout says from now on."""
        self.layout = layout
        known = [spec.path for spec in (layout.collated or layout).fields]
        self._padding = Padding(self._pads, known) if self._pads else None
        # Only where the quick way is the class's own: a derived class's __getitem__ is what the user means.
        quick = isinstance(self.source, MemorySource) and quick_way(self.source, "read_into") is not None
        self._reads_columns = self._as_read and quick and self.source.reads_columns(known)  # type: ignore[attr-defined]

    def perform(
        self, run: Run, memory: Any, slot_bytes: int, pack: Callable[[BaseException], RemoteError]
    ) -> Done | Failed:
        """Do a run; ``memory`` begins with slot 0, and ``pack`` makes an exception ready for its journey."""
        began = time.perf_counter()
        written = Written.nothing()
        try:
            self.write(memory, run.slot * slot_bytes, run.epoch, run.step, run.steps, written)
        except EXITS:
            raise
        except BaseException as error:  # a panic in native code, a test's outcome: no reason for a process to end
            if is_stray(error):
                raise
            claimed(error)
            note_shortage(error)
            return Failed(pack(error), written)
        return Done(time.perf_counter() - began, written)

    def probe(self, epoch: int = 0) -> Layout:
        """Read the first record of the source, run the stages, and fix the layout by what comes out.

        It is the same for all shards, so that they agree. With ``skip`` set, it is the first record for which nothing
        is raised.

        Args:
            epoch: the one that begins, of which the user's code is told first.

        Raises:
            RecordError: the record is of no known kind or holds no array.
        """
        user = self.user_code
        if not user.there:
            return self._probe()
        user.enter(epoch)
        return user.watch(epoch, self._probe)

    def _probe(self) -> Layout:
        order = self.order
        positions = range(order.offset, order.length, order.stride)[: _PROBES if self.skip else 1]
        numbers = list(positions) if order.kept is None else order.kept[list(positions)].tolist()
        for tried, number in enumerate(numbers, 1):
            recorder.enter(0, 0)
            try:
                return self._layout_of(number)
            except Exception as error:
                if tried == len(numbers) or is_stray(error):
                    if self.skip and not is_stray(error):
                        add_note(error, f"(on_error='skip': each of the first {tried} records fails)")
                    raise
        raise RecordError("the shard holds no record, so there is nothing to learn the layout of a batch from")

    def _layout_of(self, number: int) -> Layout:
        together = self._reader.together(np.array([number]))
        record = self._reader.one(number) if together is None else together[0]
        record = self._record_stages.apply(number, record, self._record_stages.generators(0))
        arrays, info = split_record(record, number)
        size, x64 = self._rows, None if self.batch_stages else self.x64
        if self._pads:
            padding = Padding(self._pads, [*arrays, *info])
            collated = padding.first(arrays, info, number, batch_size=size, x64=x64)
            arrays, varying = padding.whole(arrays), padding.varying
        else:
            collated = Layout.of_parts(
                arrays, info, number=number, batch_size=size, x64=x64, may_be_empty=bool(self.batch_stages)
            )
            varying = set()
        if not self.batch_stages:
            return collated
        stacked, infos = stacked_stages(
            self.batch_stages,
            self._first_batch_stage,
            {path: array[None] for path, array in arrays.items()},
            {path: [value] for path, value in info.items()},
            np.array([number]),
        )
        return Layout.of_parts(
            {path: rows[0, ...] for path, rows in stacked.items()},
            infos,
            number=number,
            batch_size=size,
            x64=self.x64,
            varying=stacked.keys() if varying else (),
            collated=collated,
        )

    def write(self, memory: Any, start: int, epoch: int, step: int, steps: int, written: Written) -> None:
        """Write consecutive batches, the first at byte ``start``, each in a block of its own.

        Args:
            memory: a writable buffer.
            start: where the first block begins.
            epoch: the epoch.
            step: the first step.
            steps: how many.
            written: filled in, step by step.

        Raises:
            Exception: what the source or a stage raised, with notes that say where.
        """
        user = self.user_code
        if not user.there:
            self._write_steps(memory, start, epoch, step, steps, written, None)
            return
        user.enter(epoch)

        def write() -> None:
            written.clear()
            self._write_steps(memory, start, epoch, step, steps, written, user.seeder())

        user.try_out(write)

    def _write_steps(
        self, memory: Any, start: int, epoch: int, step: int, steps: int, written: Written, seed: Seeder | None
    ) -> None:
        assert self.layout is not None
        order = self.order
        numbers = order.records(epoch, step, steps)
        for done in range(steps):
            recorder.enter(epoch, step + done)
            wanted = numbers[done * order.batch_size : (done + 1) * order.batch_size]  # fewer in the last
            if seed is not None:
                seed(epoch, order.first_row(epoch, step + done))
            try:
                info, skips, shapes = self._write_batch(memory, start, epoch, wanted)
                written.infos.append(None if info is None else dumps(info))
            except BaseException as error:
                if is_stray(error):
                    raise
                add_note(error, f"(step {step + done} of epoch {epoch})")
                raise
            if skips:
                written.skips[done] = skips
            if shapes is not None:
                written.shapes[done] = shapes
            start += self.layout.block_bytes

    def _write_batch(
        self, memory: Any, start: int, epoch: int, numbers: NDArray[np.int64]
    ) -> tuple[Infos | None, tuple[Skip, ...], Shapes | None]:
        layout = self.layout
        assert layout is not None
        out = layout.rows(memory, start, len(numbers))
        # A narrowing conversion is checked value by value, so such fields take a detour through their own dtype.
        targets = {
            spec.path: rows_out if spec.dtype == spec.source_dtype else np.empty(rows_out.shape, spec.source_dtype)
            for spec, rows_out in zip(layout.fields, out, strict=True)
        }
        skips: dict[int, Skip] = {}  # by row
        infos = self._fill(layout, epoch, numbers, targets, skips)
        shapes = None
        if self._padding is not None and (shapes := smaller(layout, targets)) is not None:
            out = layout.rows(memory, start, len(numbers), shapes)
        rows = len(numbers) - len(skips)
        fits = None
        for spec, rows_out in zip(layout.fields, out, strict=True):
            if spec.dtype != spec.source_dtype:
                kept = spec.convert(targets[spec.path][:rows], rows_out[:rows])
                fits = kept if fits is None else fits & kept
        if fits is not None and not fits.all():
            infos = drop_misfits(layout, fits, numbers, targets, out, infos, skips, skip=self.skip)
            rows = len(numbers) - len(skips)
        if self.pad and rows < layout.batch_size:
            for whole in layout.rows(memory, start, layout.batch_size, shapes):
                whole[rows:] = 0
        return infos, tuple(skips[row] for row in sorted(skips)) if skips else (), shapes

    def _fill(
        self, layout: Layout, epoch: int, numbers: NDArray[np.int64], targets: Arrays, skips: dict[int, Skip]
    ) -> Infos | None:
        """Write the records' rows to the front of the targets, without gaps where one is skipped."""
        if not len(numbers):  # nothing was left for this shard
            return None
        if self.batch_stages:
            return self._fill_stacked(layout, epoch, numbers, targets, skips)
        return self._gather(layout, epoch, numbers, targets, skips)

    def _gather(
        self, layout: Layout, epoch: int, numbers: NDArray[np.int64], targets: Arrays, skips: dict[int, Skip]
    ) -> Infos | None:
        """Write the records' rows as they are before stages for batches."""
        if self._reads_columns:
            try:
                recorder.here[PHASE], recorder.here[RECORD] = Phase.READING, WHOLE_BATCH
                return self.source.read_into(numbers, targets)  # type: ignore[attr-defined, no-any-return]
            except Exception as error:
                if not self.skip or is_stray(error):
                    raise
        return self._collate(layout, epoch, numbers, targets, skips)

    @property
    def only_copies(self) -> bool:
        """Whether all there is to do is to copy rows of arrays; known when the layout is."""
        return not self.stages and not self.user_code.there and self._reads_columns

    def _fill_stacked(
        self, layout: Layout, epoch: int, numbers: NDArray[np.int64], targets: Arrays, skips: dict[int, Skip]
    ) -> Infos | None:
        collated = layout.collated
        assert collated is not None
        stacked = {spec.path: np.empty((len(numbers), *spec.shape), spec.source_dtype) for spec in collated.fields}
        infos = self._gather(collated, epoch, numbers, stacked, skips)
        rows = len(numbers) - len(skips)
        if rows == 0:
            return {path: [] for path in layout.info}
        if skips:
            stacked = {path: array[:rows] for path, array in stacked.items()}
            numbers = np.delete(numbers, list(skips))
        batch, infos = stacked_stages(
            self.batch_stages, self._first_batch_stage, stacked, infos or {}, numbers, layout.info
        )
        recorder.here[PHASE] = Phase.WRITING
        layout.check_names(batch, infos, int(numbers[0]))
        for spec in layout.fields:
            row = spec.check(batch[spec.path][0, ...], int(numbers[0]))  # the rows of one array are all alike
            if row.shape != spec.shape:
                targets[spec.path] = shrunk(targets[spec.path], row.shape)
            np.copyto(targets[spec.path][:rows], batch[spec.path], casting="safe")
        return infos

    def _collate(
        self, layout: Layout, epoch: int, numbers: NDArray[np.int64], targets: Arrays, skips: dict[int, Skip]
    ) -> Infos | None:
        together = self._reader.together(numbers)
        if isinstance(together, Columns) and self._as_read:
            infos = together.write(layout, targets)
            if infos is not None:
                return infos
        if together is not None and self.skip:
            try:
                return self._collate_records(layout, epoch, numbers, targets, None, together)
            except Exception as error:  # which of the records it is that has to be skipped shows one by one
                if is_stray(error):
                    raise
                log.debug("records %s are read singly: %r", numbers.tolist(), error)
                together = None
        return self._collate_records(layout, epoch, numbers, targets, skips if self.skip else None, together)

    def _collate_records(
        self,
        layout: Layout,
        epoch: int,
        numbers: NDArray[np.int64],
        targets: Arrays,
        skips: dict[int, Skip] | None,
        together: Sequence[Any] | Columns | None,
    ) -> Infos | None:
        """Write records one after the other; ``skips`` takes up those that fail, unless it is None."""
        infos: Infos = {path: [] for path in layout.info}
        padding, lengths = self._padding, list[Lengths]()
        rows, row = Rows(layout, targets, None if padding is None else padding.alone), 0
        read, put, staged = self._reader.one, rows.put_plain, bool(self._record_stages)
        stages, generators = self._record_stages, self._record_stages.generators(epoch)
        for place, number in enumerate(numbers.tolist()):
            try:
                record = read(number) if together is None else together[place]
                if staged:
                    record = stages.apply(number, record, generators)
                if (length := put(row, record)) is not None:
                    lengths[row:] = [length]
                    row += 1
                    continue
                recorder.here[PHASE], recorder.here[RECORD] = Phase.WRITING, number
                arrays, info = split_record(record, number, layout.info)
                if padding is not None:
                    lengths[row:] = [padding.admit(arrays, info, number)]
                rows.put(row, arrays, info, number)
            except Exception as error:
                if skips is None or is_stray(error):
                    raise
                skips[place] = Skip(number, place, one_line(error))
                continue
            for path, values in infos.items():
                values.append(info[path])
            row += 1
        if padding is not None:
            padding.close_up(targets, lengths[:row])  # without that of a last record that was skipped
        return infos or None
