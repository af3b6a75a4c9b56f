"""Rows straight out of a source's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, RecordError, field_name, flatten, nest
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
        """See ``Fill``.

        Raises:
            RecordError: the source has put other arrays in the place of those that it was given.
        """
        out = nest(targets)
        try:
            self._reader.into(numbers, out)
        except Exception as error:
            if self._singly is None or is_stray(error):
                raise
            return self._singly(epoch, numbers, targets)
        _check_in_place(out, targets)
        return Filled(targets, None, {})


def _check_in_place(out: dict[str, Any], targets: Arrays) -> None:
    """Make sure that what was written to is the batch's memory: beside it, the rows would be those of an older batch.

    A mapping that is read-only would refuse ``out["x"] += 1``, too, which writes in place.
    """
    for path, value in flatten(out).items():
        if value is (target := targets.get(path)):
            continue
        name = field_name(path)
        if target is None:
            raise RecordError(f"read_into has added the field '{name}', which the first record lacks")
        raise RecordError(
            f"field '{name}': expected read_into to write to the array that it is given, found another one in its "
            f"place. Write out['{name}'][...] = values, and not out['{name}'] = values"
        )


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
