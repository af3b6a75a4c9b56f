"""How the rows of a batch come about, one way a class; ``compile`` chooses among them, once.

    GatherColumns     the source's columns are arrays: rows are copied out of them         sources.memory_source
    ReadInto          a source of the user's writes them                                   gathering
    FetchColumns      the source gives all values of a field in one call                   reading
    CollateRecords    record after record, through the stages for records                  collate
    StackedStages     around one of these: the stages for batches                          stacked
    Narrowed          around all: 64-bit values where JAX holds 32-bit ones                narrowing

Each is called with arrays to write to and returns those that it wrote, which may be smaller.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import compress
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, Infos
from datarax_mp.recipe.work import Skip

Named: TypeAlias = Callable[[NDArray[np.int64]], list[int]]
"""``Order.named``."""


class Filled(NamedTuple):
    """The rows of a batch, at the front of their arrays, without gaps where a record was skipped.

    Attributes:
        arrays: for each field the array that was written, with room for all rows that were asked for.
        infos: for each field that is no array a list with a value per row, or None where all are arrays.
        skips: what was skipped, by its place among the numbers.
    """

    arrays: Arrays
    infos: Infos | None
    skips: dict[int, Skip]

    def left(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the numbers that were not skipped, one per row."""
        return np.delete(numbers, list(self.skips)) if self.skips else numbers

    def only(self, kept: NDArray[np.bool_], skips: dict[int, Skip]) -> Filled:
        """The same without some of the rows, whose arrays are closed up in place.

        Args:
            kept: bool ``(rows,)``, which of the rows that are there stay.
            skips: what is skipped in their stead, by its place among the numbers.
        """
        for rows in self.arrays.values():
            rows[: kept.sum()] = rows[: len(kept)][kept]
        if self.infos is None:
            return self._replace(skips=self.skips | skips)
        infos = {path: list(compress(values, kept.tolist())) for path, values in self.infos.items()}
        return Filled(self.arrays, infos, self.skips | skips)


class Fill(Protocol):
    """One way to write the rows of a batch."""

    def __call__(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays) -> Filled:
        """Write records to the front of arrays.

        Args:
            epoch: the epoch.
            numbers: int64 ``(rows,)``, the records' numbers; at least one.
            targets: for each field a contiguous array ``(rows, ...)`` of the dtype that its records have.
        """
        ...
