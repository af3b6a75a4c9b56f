"""The stages for batches at work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, RecordError, as_array, field_name, flatten, nest
from datarax_mp.stages.host import MapBatch, stage_name
from datarax_mp.workers import board
from datarax_mp.workers.board import PHASE, RECORD, STAGE, WHOLE_BATCH, Phase


def apply(stages: Sequence[MapBatch], first: int, stacked: Arrays, rows: int, numbers: NDArray[np.int64]) -> Arrays:
    """What the stages make of a batch.

    Args:
        stages: the stages.
        first: the place of the first of them among all host stages.
        stacked: arrays ``(rows, ...)``.
        rows: how many rows there are.
        numbers: the records' numbers.

    Raises:
        RecordError: a stage returned something else than a dict of arrays with as many rows.
        Exception: what a stage raised, with a note that names it.
    """
    at = board.here
    for place, stage in enumerate(stages, first):
        at[PHASE], at[RECORD], at[STAGE] = Phase.STAGE, WHOLE_BATCH, place
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
