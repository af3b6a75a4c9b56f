"""Rows straight out of a source's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, nest
from datarax_mp.core.strays import is_stray
from datarax_mp.recipe.filling import Fill, Filled
from datarax_mp.recipe.reading import Reader
from datarax_mp.recipe.recorder import here


class ReadInto:
    """Has a source of the user's write its records.

    Args:
        reader: reads.
        singly: what is done instead where that raises and records may be skipped, so that it shows which; else None.
    """

    def __init__(self, reader: Reader, singly: Fill | None) -> None:
        self._reader, self._singly = reader, singly

    def __call__(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays) -> Filled:
        """See ``Fill``."""
        try:
            self._reader.into(numbers, nest(targets))
            return Filled(targets, None, {})
        except Exception as error:
            if self._singly is None or is_stray(error):
                raise
        return self._singly(epoch, numbers, targets)


class GatherColumns:
    """Copies rows of a source's columns.

    Args:
        source: has ``read_into(numbers, arrays)``.
        singly: what is done instead where that raises and records may be skipped, so that it shows which; else None.
    """

    def __init__(self, source: Any, singly: Fill | None) -> None:
        self._read_into, self._singly = source.read_into, singly

    def __call__(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays) -> Filled:
        """See ``Fill``."""
        here.read()
        try:
            return Filled(targets, self._read_into(numbers, targets), {})
        except Exception as error:
            if self._singly is None or is_stray(error):
                raise
        return self._singly(epoch, numbers, targets)
