"""The stages for batches at work."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.record import Arrays, Infos, Path, RecordError, as_array, field_name, leaves_of, nest
from datarax_mp.core.spec import Layout
from datarax_mp.core.strays import claim
from datarax_mp.recipe.filling import Fill, Filled, Named
from datarax_mp.recipe.padding import shrunk
from datarax_mp.recipe.recorder import here
from datarax_mp.stages.random_map_batch import BatchDraw


class StackedStages:
    """Has records stacked, and runs the stages for batches on them.

    Args:
        fill: stacks the records.
        named: makes of records' numbers such as say in messages what they stand for.
        stages: the stages.
        first: the place of the first of them among all host stages.
        collated: what a batch holds before them.
        delivered: and after.
        seed: the pipeline's.
        uncounted: how many stages before them do not count for what they draw.
    """

    def __init__(
        self,
        fill: Fill,
        named: Named,
        stages: Sequence[Any],
        first: int,
        collated: Layout,
        delivered: Layout,
        seed: int,
        *,
        uncounted: int,
    ) -> None:
        self._uncounted = uncounted
        self._fill, self._named, self._stages, self._first, self._seed = fill, named, stages, first, seed
        self._collated, self._delivered = collated, delivered

    def __call__(self, epoch: int, numbers: NDArray[np.int64], targets: Arrays) -> Filled:
        """See ``Fill``."""
        layout = self._delivered
        stacked, infos, skips = filled = self._fill(
            epoch,
            numbers,
            {spec.path: np.empty((len(numbers), *spec.shape), spec.source_dtype) for spec in self._collated.fields},
        )
        left = filled.left(numbers)
        rows = len(left)
        if rows == 0:
            return Filled(targets, {path: [] for path in layout.info} or None, skips)
        if skips:
            stacked = {path: array[:rows] for path, array in stacked.items()}
        named, draw = self._named(left), BatchDraw(self._seed, epoch, numbers, self._uncounted)
        batch, infos = apply(self._stages, self._first, stacked, infos or {}, named, draw, layout.info)
        here.write()
        layout.check_names(batch, infos, named[0])
        written = {}
        for spec in layout.fields:
            target = targets[spec.path]
            row = spec.check(batch[spec.path][0, ...], named[0])  # the rows of one array are all alike
            if spec.rounded(batch[spec.path]) is not None:  # it shows which record it is
                for array, number in zip(batch[spec.path], named, strict=True):
                    spec.check(array, number)
            written[spec.path] = target = target if row.shape == spec.shape else shrunk(target, row.shape)
            np.copyto(target[:rows], batch[spec.path], casting="safe")
        return Filled(written, infos or None, skips)


def apply(
    stages: Sequence[Any],
    first: int,
    stacked: Arrays,
    infos: Infos,
    numbers: Sequence[int],
    draw: BatchDraw,
    no_arrays: Collection[Path] = (),
) -> tuple[Arrays, Infos]:
    """What the stages make of a batch.

    Args:
        stages: the stages.
        first: the place of the first of them among all host stages.
        stacked: arrays ``(rows, ...)``.
        infos: the fields that are no arrays, lists of ``rows`` values.
        numbers: the records' numbers.
        draw: where random stages get their generators from.
        no_arrays: the fields that are no arrays after the last stage, as far as that is known.

    Raises:
        RecordError: a stage returned something else than a dict of arrays and lists with as many rows.
        Exception: what a stage raised, with a note that names it.
    """
    for place, stage in enumerate(stages, first):
        here.stage(place)
        name = stage.name
        try:
            given = nest({**stacked, **infos})
            result = stage.fn(given, draw.generator(place)) if stage.random else stage.fn(given)
        except BaseException as error:
            claim(error, f"while stage {name} worked on the batch of records {numbers}")
            raise
        if not isinstance(result, Mapping):
            raise RecordError(f"stage {name} must return a dict of arrays, it returned {type(result).__name__}")
        kept = no_arrays if place == first + len(stages) - 1 else ()
        stacked, infos = _divided(result, infos, kept, numbers, name)
    return stacked, infos


def _divided(
    result: Mapping[str, Any], before: Infos, no_arrays: Collection[Path], numbers: Sequence[int], name: str
) -> tuple[Arrays, Infos]:
    arrays: Arrays = {}
    infos: Infos = {}
    for path, value in leaves_of(result, no_arrays).items():
        array = None
        if path not in no_arrays and value is not before.get(path):  # what came as info and was left alone stays that
            array = as_array(value, numbers[0], path)
        found = _as_list(value) if array is None else array if array.ndim else None
        if found is None or len(found) != len(numbers):
            raise RecordError(
                f"stage {name}, field '{field_name(path)}': expected an array of {len(numbers)} rows, found "
                f"{_described(value, array)}"
            )
        if array is None:
            infos[path] = list(found)
        else:
            arrays[path] = array
    return arrays, infos


def _as_list(value: Any) -> list[Any] | None:
    if isinstance(value, np.ndarray):
        return value.tolist() if value.ndim else None
    return list(value) if isinstance(value, (list, tuple)) else None


def _described(value: Any, array: np.ndarray | None) -> str:
    if array is not None:
        return f"shape {array.shape}"
    return f"a list of {len(value)}" if isinstance(value, (list, tuple)) else type(value).__name__
