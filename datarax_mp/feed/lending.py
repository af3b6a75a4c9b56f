"""Which slots may be with the user, and how a finished run becomes batches.

A slot that the user holds, or that JAX holds for computations it has only queued, must never stop the workers. So at
most so many slots are lent out that every worker still has room to work; beyond that, batches are delivered as copies
in ordinary memory, and their slot is free when the run has been delivered.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.spec import Layout
from datarax_mp.feed.host_batch import CopiedBatch, HostBatch, MappedBatch, aligned_copy
from datarax_mp.feed.timings import Timings
from datarax_mp.feed.window import Finished
from datarax_mp.order import Order
from datarax_mp.order.epoch import Epoch
from datarax_mp.recipe.work import Failed, Written
from datarax_mp.ring import Ring


@dataclass(frozen=True, slots=True)
class Failure:
    """What stands in place of a batch for which the source or a stage has raised something; it is the last one.

    Attributes:
        error: what is to be raised when the caller has come to it.
    """

    error: BaseException


class Lending:
    """Makes batches of runs, that look into a slot if it may be lent out.

    Args:
        ring: where the runs are.
        layout: what is in a batch.
        order: whose steps they are.
        most: how many slots may be with the user at one time.
        padded: whether batches that are not full are filled up.
        timings: where it is counted how many batches were copied.
    """

    def __init__(self, ring: Ring, layout: Layout, order: Order, *, most: int, padded: bool, timings: Timings) -> None:
        self._ring, self._layout, self._order = ring, layout, order
        self._most, self._padded, self._timings = most, padded, timings
        self._epoch: Epoch | None = None  # of the newest run
        self._last = self._whole = 0

    def _enter(self, number: int) -> Epoch:
        """The epoch of a run, and what is asked of every run found out once for it."""
        if self._epoch is not None and self._epoch.number == number:
            return self._epoch
        self._epoch = epoch = Epoch(self._order, number)
        self._last = epoch.steps - 1
        self._whole = epoch.steps if epoch.even and epoch.rows(self._last) == epoch.batch_size else self._last
        return epoch

    def lends(self) -> bool:
        """Whether one more slot may be with the user."""
        return self._ring.leased < self._most

    def batches(self, finished: Finished) -> Generator[HostBatch | Failure, None, None]:
        """The batches of a run, one by one, and at last what was raised, if anything was.

        The lease lives here for as long as there is something to read, and in every batch and array that was read.
        """
        run, answer, layout = finished.run, finished.answer, self._layout
        epoch = self._enter(run.epoch) if finished.order is None else Epoch(finished.order, run.epoch)
        last = self._last
        written, even, most, lent = answer.written, epoch.even, epoch.batch_size, self.lends()
        memory: Any = self._ring.lease(run.slot)
        alike = self._alike(epoch, run.step, written) if lent else 0
        self._timings.rows += self._rows(epoch, run.step, written)
        for place, info in enumerate(written.infos):
            step, skips = run.step + place, written.skips.get(place, ())
            # Of equal steps only the last may have fewer rows.
            rows = (most if even and step < last else epoch.rows(step)) - len(skips)
            size = rows if not self._padded else most if even else epoch.width(step)
            start, shapes = place * layout.block_bytes, written.shapes.get(place)
            digest = written.digests[place] if written.digests else None
            if lent:
                yield MappedBatch(
                    epoch,
                    step,
                    rows,
                    size,
                    info,
                    skips,
                    max(alike - place, 1),
                    layout,
                    memory,
                    start,
                    shapes,
                    digest=digest,
                )
            else:
                self._timings.copied += 1
                copies = [aligned_copy(array) for array in layout.rows(memory, start, size, shapes)]
                yield CopiedBatch(epoch, step, rows, size, info, skips, 1, copies, digest=digest)
        if isinstance(answer, Failed):
            # An exception keeps the frames it went through for as long as somebody keeps it, and they would keep the
            # slot.
            memory = None
            yield Failure(answer.error.restore())

    def _rows(self, epoch: Epoch, step: int, written: Written) -> int:
        """How many records are in a run that begins with a step."""
        count = len(written.infos)
        if epoch.even and step + count <= self._last:
            rows = count * epoch.batch_size
        else:
            rows = sum(map(epoch.rows, range(step, step + count)))
        return rows - sum(map(len, written.skips.values())) if written.skips else rows

    def _alike(self, epoch: Epoch, step: int, written: Written) -> int:
        """How many batches of a run that begins with a step are whole and as the layout says."""
        if not epoch.even or self._layout.batch_size != epoch.batch_size or written.skips or written.shapes:
            return 0
        return min(len(written.infos), self._whole - step)
