"""Info on its way to the caller: it is pickled, wherever it was read; what cannot be is told by field and record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.errors import one_line
from datarax_mp.core.pickling import dumps
from datarax_mp.core.record import Infos, Path, RecordError, field_name
from datarax_mp.core.strays import is_chance
from datarax_mp.order.expansion import record_of
from datarax_mp.recipe.filling import Filled, Named
from datarax_mp.recipe.work import Skip


class Packer:
    """Pickles info.

    Args:
        named: makes of records' numbers such as say in messages what they stand for.
        skip: whether a record whose info does not pickle is left out.
    """

    def __init__(self, named: Named, *, skip: bool) -> None:
        self._named, self._skip = named, skip

    def pack(self, filled: Filled, numbers: NDArray[np.int64]) -> tuple[Filled, bytes | None]:
        """The pickled info of a batch, and the batch without the rows that are skipped for theirs.

        Args:
            filled: the batch.
            numbers: int64 ``(rows,)``, the numbers of all records that it was to have.

        Raises:
            RecordError: a value does not pickle, and records may not be skipped.
        """
        if filled.infos is None:
            return filled, None
        try:
            return filled, dumps(filled.infos)
        except Exception as error:
            places = filled.left(np.arange(len(numbers)))  # of each row that is there
            bad = unpicklable(filled.infos, self._named(numbers[places]))
            if not bad:
                raise
            if not self._skip:
                raise bad[min(bad)] from error
        kept = np.ones(len(places), bool)
        kept[list(bad)] = False
        left_out = [(int(places[row]), one_line(error)) for row, error in bad.items()]
        named = {place: self._named(numbers[place : place + 1])[0] for place, _ in left_out}
        skips = {place: Skip(record_of(named[place]), place, why) for place, why in left_out}
        return self.pack(filled.only(kept, skips), numbers)


def unpicklable(infos: Infos, numbers: Sequence[int]) -> dict[int, RecordError]:
    """The errors for the rows of a batch whose info does not pickle; ``numbers`` are their records'."""
    bad: dict[int, RecordError] = {}
    for path, values in infos.items():
        for row, value in enumerate(values):
            if row not in bad and (error := _refusal(value, path, numbers[row])) is not None:
                bad[row] = error
    return bad


def _refusal(value: Any, path: Path, number: int) -> RecordError | None:
    try:
        dumps(value)
    except MemoryError:
        raise
    except Exception as error:
        if is_chance(lambda: dumps(value)):
            raise
        return RecordError(
            f"record {number}, field '{field_name(path)}': expected an array, or a value that pickles, to travel "
            f"beside the arrays, found a {type(value).__name__} ({one_line(error)}). Leave the field out in a stage, "
            "or replace it by what pickles"
        )
    return None
