"""Values that the 32-bit types of JAX cannot hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.errors import one_line
from datarax_mp.core.record import Arrays, RecordError
from datarax_mp.core.spec import FieldSpec, Layout
from datarax_mp.order.expansion import record_of
from datarax_mp.recipe.filling import Fill, Filled, Named
from datarax_mp.recipe.padding import shrunk
from datarax_mp.recipe.work import Skip


def narrowed(layout: Layout) -> list[FieldSpec]:
    """The fields that are delivered in another dtype than their records have."""
    return [spec for spec in layout.fields if spec.dtype != spec.source_dtype]


class Narrowed:
    """Has rows written in the records' own dtypes, and checks value by value that the narrower ones hold them.

    Args:
        fill: writes the rows.
        named: makes of records' numbers such as say in messages what they stand for.
        layout: what the batch holds.
        skip: whether a record whose values do not fit is skipped.
    """

    def __init__(self, fill: Fill, named: Named, layout: Layout, *, skip: bool) -> None:
        self._fill, self._named, self._layout, self._skip = fill, named, layout, skip
        self._specs = narrowed(layout)

    def __call__(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays) -> Filled:
        """See ``Fill``."""
        own = {spec.path: np.empty(targets[spec.path].shape, spec.source_dtype) for spec in self._specs}
        filled = self._fill(epoch, numbers, {**targets, **own})
        rows = len(numbers) - len(filled.skips)
        delivered = dict(filled.arrays)
        fits: NDArray[np.bool_] | None = None
        for spec in self._specs:
            found, target = filled.arrays[spec.path], targets[spec.path]
            if found.shape != target.shape:
                target = shrunk(target, found.shape[1:])
            delivered[spec.path] = target
            kept = spec.convert(found[:rows], target[:rows])
            fits = kept if fits is None else fits & kept
        assert fits is not None
        converted = Filled(delivered, filled.infos, filled.skips)
        return converted if fits.all() else converted.only(fits, self._misfits(fits, filled, numbers))

    def _misfits(self, fits: NDArray[np.bool_], filled: Filled, numbers: NDArray[np.int64]) -> dict[int, Skip]:
        """The records whose values do not fit, by place.

        Raises:
            RecordError: there is one, and records may not be skipped.
        """
        places = filled.left(np.arange(len(numbers)))  # of each row that is there
        misfits = {}
        for row in np.flatnonzero(~fits).tolist():
            place = int(places[row])
            (number,) = self._named(numbers[place : place + 1])
            error = self._misfit(filled.arrays, row, number)
            if not self._skip:
                raise error
            misfits[place] = Skip(record_of(number), place, one_line(error))
        return misfits

    def _misfit(self, arrays: Arrays, row: int, number: int) -> RecordError:
        """The error for the first field of a row that does not fit."""
        for spec in self._specs:
            value = arrays[spec.path][row : row + 1]
            if not spec.convert(value, np.empty(value.shape, spec.dtype)).all():
                return spec.misfit(value[0], number)
        raise AssertionError("every value fits")
