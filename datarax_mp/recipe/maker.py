"""Writing one batch: ``compile`` chooses once how that is done, a ``Maker`` does it for every step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, Infos
from datarax_mp.core.spec import Layout
from datarax_mp.recipe.collating import CollateRecords, FetchColumns
from datarax_mp.recipe.filling import Fill
from datarax_mp.recipe.gathering import GatherColumns, ReadInto
from datarax_mp.recipe.items import reader_of
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.narrowing import Narrowed, narrowed
from datarax_mp.recipe.packing import Packer
from datarax_mp.recipe.padding import Padding, smaller
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.record_stages import RecordStages
from datarax_mp.recipe.stacked import StackedStages
from datarax_mp.recipe.work import Shapes, Skip
from datarax_mp.sources.adapt import Source, quick_way
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.stages.base import Rank


class Made(NamedTuple):
    """What comes of a step beside the arrays.

    Attributes:
        info: the pickled info of its records, or None where all fields are arrays.
        skips: the records that were left out, in their order.
        shapes: the shape of each field's rows, in the layout's order, or None where all are as the layout says.
        digest: what a ledger says of the step, or None where there is none.
    """

    info: bytes | None
    skips: tuple[Skip, ...]
    shapes: Shapes | None
    digest: bytes | None = None


_NOTHING = Made(None, (), None)

Digest: TypeAlias = Callable[[list[np.ndarray], Infos | None, NDArray[np.int64]], bytes]


class Maker:
    """Writes batches.

    Args:
        fill: how rows come about.
        layout: what a batch holds.
        packer: pickles what is no array.
        pad: whether the rows that a short batch lacks are filled with zeros.
        varies: whether arrays may be smaller than the layout says.
        only_copies: whether all there is to do is to copy rows of arrays.
        digest: makes a digest of a step's arrays and infos and its records' numbers, or None.

    Attributes:
        only_copies: see above.
    """

    def __init__(
        self,
        fill: Fill,
        layout: Layout,
        packer: Packer,
        *,
        pad: bool,
        varies: bool,
        only_copies: bool,
        digest: Digest | None = None,
    ) -> None:
        self._fill, self._layout, self._packer = fill, layout, packer
        self._pad, self._varies, self._digest = pad, varies, digest
        self._paths = [spec.path for spec in layout.fields]
        self._memory: Any = None
        self._blocks: dict[int, Arrays] = {}  # the arrays of whole batches in that memory, by where they begin
        self.only_copies = only_copies

    def make(self, memory: Any, start: int, epoch: int, numbers: NDArray[np.int64], width: int) -> Made:
        """Write the batch of some records to the block at byte ``start``.

        Args:
            memory: a writable buffer.
            start: where the block begins.
            epoch: the epoch.
            numbers: int64 ``(rows,)``, the records' numbers; there may be none.
            width: the rows that are filled up to.

        Raises:
            Exception: what the source or a stage raised, with notes that say where.
        """
        layout = self._layout
        targets = self._targets(memory, start, len(numbers))
        if not len(numbers):  # nothing was left for this shard
            self._fill_up(memory, start, 0, width, None)
            return _NOTHING if self._digest is None else Made(None, (), None, self._digest([], None, numbers))
        filled, info = self._packer.pack(self._fill(epoch, numbers, targets), numbers)
        arrays, infos, skips = filled
        shapes = smaller(layout, arrays) if self._varies else None
        rows = len(numbers) - len(skips)
        if rows < width:
            self._fill_up(memory, start, rows, width, shapes)
        digest = None
        if self._digest is not None:
            digest = self._digest(layout.rows(memory, start, rows, shapes), infos, filled.left(numbers))
        if infos is None and shapes is None and digest is None and not skips:
            return _NOTHING
        return Made(info, tuple(skips[place] for place in sorted(skips)), shapes, digest)

    def _targets(self, memory: Any, start: int, rows: int) -> Arrays:
        """The arrays to write to. A ring's blocks come again and again, and to map one costs a microsecond a field."""
        if memory is not self._memory:
            self._memory = memory
            self._blocks.clear()
        whole = rows == self._layout.batch_size
        known = self._blocks.get(start) if whole else None
        if known is None:
            known = dict(zip(self._paths, self._layout.rows(memory, start, rows), strict=True))
            if whole:
                self._blocks[start] = known
        return known

    def _fill_up(self, memory: Any, start: int, rows: int, width: int, shapes: Shapes | None) -> None:
        if self._pad:
            for whole in self._layout.rows(memory, start, width, shapes):
                whole[rows:] = 0


def compile(recipe: Recipe, layouts: Layouts, source: Source | None = None) -> Maker:
    """Choose how a recipe's batches are written, now that it is known what is in them.

    Args:
        recipe: the recipe.
        layouts: what is in a batch.
        source: what stands for the recipe's source, or None.
    """
    collated, delivered = layouts.collated, layouts.delivered
    stages, later = RecordStages(recipe), recipe.of_rank(Rank.BATCH)
    known = [spec.path for spec in collated.fields]
    pads = recipe.of_rank(Rank.PAD)
    padding = Padding(pads, known) if pads else None
    reader, named = reader_of(recipe, source), recipe.order.named
    singly = CollateRecords(reader, named, stages, padding, collated, skip=recipe.skip)
    as_read = not stages and padding is None and not recipe.until_items and recipe.cache is None
    # Only where the quick way is the class's own: a derived class's __getitem__ is what the user means.
    quick = isinstance(recipe.source, MemorySource) and quick_way(recipe.source, "read_into") is not None
    gathers = as_read and quick and recipe.source.reads_columns(known)  # type: ignore[attr-defined]
    fill: Fill = singly
    if gathers:
        fill = GatherColumns(recipe.source, singly if recipe.skip else None)
    elif as_read and reader.writes and not isinstance(recipe.source, MemorySource) and _all_alike(collated):
        fill = ReadInto(reader, singly if recipe.skip else None)
    elif as_read and reader.many:
        fill = FetchColumns(reader, collated, singly)
    if later:
        first = len(recipe.stages) - len(later)
        uncounted = first - recipe.draws_as(first)
        fill = StackedStages(fill, named, later, first, collated, delivered, recipe.order.seed, uncounted=uncounted)
    if narrowed(delivered):
        fill = Narrowed(fill, named, delivered, skip=recipe.skip)
    return Maker(
        fill,
        delivered,
        Packer(named, skip=recipe.skip),
        pad=recipe.pad,
        varies=padding is not None,
        only_copies=gathers and not recipe.stages and not recipe.user_code,
        digest=_digest(delivered) if recipe.hashed else None,
    )


def _all_alike(layout: Layout) -> bool:
    """Whether records are arrays of one shape for each field, and nothing else."""
    return not layout.info and not any(spec.ragged for spec in layout.fields)


def _digest(layout: Layout) -> Digest:
    from datarax_mp.ledger.digests import Digester  # delayed: it imports xxhash

    return Digester(layout)
