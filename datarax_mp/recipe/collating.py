"""Rows record by record, or out of columns that were fetched for just this batch."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.errors import one_line
from datarax_mp.core.record import Arrays, Infos, split_record
from datarax_mp.core.spec import Layout
from datarax_mp.core.strays import is_stray
from datarax_mp.order.expansion import record_of
from datarax_mp.recipe.fetched import Columns
from datarax_mp.recipe.filling import Filled, Named
from datarax_mp.recipe.padding import Lengths, Padding
from datarax_mp.recipe.reading import Reader, Together
from datarax_mp.recipe.record_stages import RecordStages
from datarax_mp.recipe.recorder import here
from datarax_mp.recipe.rows import ALL_WRITTEN, Rows
from datarax_mp.recipe.work import Skip

log = logging.getLogger("datarax_mp")


class CollateRecords:
    """Reads records, runs the stages for records, and writes one row after the other.

    Args:
        reader: reads.
        named: makes of records' numbers such as say in messages what they stand for.
        stages: the stages for records.
        padding: the stages that pad, or None.
        layout: what a row holds.
        skip: whether a record for which something is raised is left out.
    """

    def __init__(
        self,
        reader: Reader,
        named: Named,
        stages: RecordStages,
        padding: Padding | None,
        layout: Layout,
        *,
        skip: bool,
    ) -> None:
        self._named = named
        self._reader, self._stages, self._padding, self._layout = reader, stages, padding, layout
        self._rows = Rows(layout, padding)
        self._skip = skip

    def __call__(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays) -> Filled:
        """See ``Fill``."""
        return self.write(epoch, numbers, targets, self._reader.together(numbers))

    def write(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays, together: Together | None) -> Filled:
        """Write records that were read in one call, or if that is None, read them singly."""
        if together is not None and self._skip:
            try:
                return self._write(epoch, numbers, targets, together, skip=False)
            except Exception as error:  # which of the records it is that has to be skipped shows one by one
                if is_stray(error):
                    raise
                log.debug("records %s are read singly: %r", numbers.tolist(), error)
                together = None
        return self._write(epoch, numbers, targets, together, skip=self._skip)

    def _write(
        self,
        epoch: int,
        numbers: NDArray[np.int64],
        targets: Arrays,
        together: Together | None,
        *,
        skip: bool,
    ) -> Filled:
        info_paths = self._layout.info
        infos: Infos = {path: [] for path in info_paths}
        skips: dict[int, Skip] = {}
        padding, lengths = self._padding, list[Lengths]()  # of the rows that are written
        room = targets if padding is None else padding.room(targets)
        rows = self._rows.into(room, infos)
        named = self._named(numbers)
        self._reader.expect(named)
        make, wanted = self._making(epoch, named, together)
        make, left = here.before_writing(make), iter(wanted)
        while True:
            try:
                record = rows.put_plain(make, left, lengths)
                if record is ALL_WRITTEN:
                    break
                number = named[len(lengths) + len(skips)]
                here.write(number)
                arrays, info = split_record(record, number, info_paths)
                length = () if padding is None else padding.admit(arrays, info, number)
                rows.put(len(lengths), arrays, info, number)
            except Exception as error:
                if not skip or is_stray(error):
                    raise
                place = len(lengths) + len(skips)
                skips[place] = Skip(record_of(named[place]), place, one_line(error))
                if padding is not None:
                    padding.clear(room, len(lengths))  # it may be half written
                continue
            lengths.append(length)
        if padding is not None:
            targets = padding.close_up(room, targets, lengths)
        return Filled(targets, infos or None, skips)

    def _making(
        self, epoch: int, named: list[int], together: Together | None
    ) -> tuple[Callable[[int], Any], Iterable[int]]:
        """What makes the records of a batch, ready to be written, and what it is to be called with, one by one."""
        stages = self._stages
        if not stages:
            return (self._reader.one, named) if together is None else (together.__getitem__, range(len(named)))
        apply, generators, read = stages.apply, stages.generators(epoch), self._reader.one
        if together is None:
            return lambda number: apply(number, read(number), generators), named
        return lambda place: apply(named[place], together[place], generators), range(len(named))


class FetchColumns:
    """Copies columns that the source gives for the records of a batch.

    Args:
        reader: reads.
        layout: what a row holds.
        otherwise: what is done with records that came in another form, or that do not fit.
    """

    def __init__(self, reader: Reader, layout: Layout, otherwise: CollateRecords) -> None:
        self._reader, self._layout, self._otherwise = reader, layout, otherwise

    def __call__(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays) -> Filled:
        """See ``Fill``."""
        together = self._reader.together(numbers)
        if isinstance(together, Columns) and (infos := together.write(self._layout, targets)) is not None:
            return Filled(targets, infos or None, {})
        return self._otherwise.write(epoch, numbers, targets, together)
