"""What the first record settles for all others: what a batch looks like, before and after the stages for batches."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from datarax_mp.core.notes import add_note
from datarax_mp.core.record import Arrays, Infos, Path, RecordError, field_name, fields_of, leaves_of, split_record
from datarax_mp.core.spec import Layout
from datarax_mp.core.strays import is_stray
from datarax_mp.recipe.items import reader_of
from datarax_mp.recipe.lane_view import LanesEnded
from datarax_mp.recipe.packing import unpicklable
from datarax_mp.recipe.padding import Padding
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.record_stages import RecordStages
from datarax_mp.recipe.recorder import here
from datarax_mp.recipe.stacked import apply
from datarax_mp.sources.adapt import Source
from datarax_mp.stages.base import Rank, Stage
from datarax_mp.stages.random_map_batch import BatchDraw

# With on_error="skip", so many records in a row that all fail are no accident; nor are so many that are all empty.
_PROBES = 64

Read: TypeAlias = Callable[[int], tuple[int, Any]]
"""Of a record's number, how messages call it, and what the stages make of the record."""


class Layouts(NamedTuple):
    """What is known when the first record has been read.

    Attributes:
        collated: what a batch holds when its records are stacked.
        delivered: what it holds after the stages for batches; where there are none, the same.
        draws: whether the user's code is known to draw from global random generators.
        seconds: how long it took to find this out.
    """

    collated: Layout
    delivered: Layout
    draws: bool = False
    seconds: float = 0.0


def probe(recipe: Recipe, source: Source | None = None) -> Layouts:
    """Read the first record of the source, run the stages, and see what comes out.

    It is the same record for all shards, so that they agree. With ``skip`` set, it is the first one for which nothing
    is raised.

    Args:
        recipe: the recipe.
        source: what stands for the recipe's source, or None.

    Raises:
        RecordError: the record is of no known kind or holds no array.
        Exception: what the source or a stage raised.
    """
    numbers = recipe.order.examples(_PROBES if recipe.skip else 1)
    for tried, number in enumerate(numbers, 1):
        here.step(0, 0)
        try:
            return _layouts_of(recipe, source, number)
        except Exception as error:
            if tried == len(numbers) or is_stray(error):
                if recipe.skip and not is_stray(error):
                    add_note(error, f"(on_error='skip': each of the first {tried} records fails)")
                raise
    raise RecordError("the shard holds no record, so there is nothing to learn the layout of a batch from")


def _layouts_of(recipe: Recipe, source: Source | None, number: int) -> Layouts:
    first, read = number, _read_by(recipe, source)
    number, record = read(first)
    arrays, info = split_record(record, number)
    later = recipe.of_rank(Rank.BATCH)
    x64 = None if later else recipe.x64
    if pads := recipe.of_rank(Rank.PAD):
        padding = Padding(pads, [*arrays, *info])
        if untyped := _untyped(record, padding.bounds):
            arrays |= _typed(recipe, read, untyped, first)
        collated = padding.first(arrays, info, number, batch_size=recipe.rows, x64=x64)
        arrays, varying = padding.whole(arrays), bool(padding.varying)
    else:
        collated = Layout.of_parts(
            arrays, info, number=number, batch_size=recipe.rows, x64=x64, may_be_empty=bool(later)
        )
        varying = False
    if not later:
        _check_info({path: [value] for path, value in info.items()}, number)
        return Layouts(collated, collated)
    return Layouts(collated, _delivered(recipe, later, arrays, info, number, varying=varying))


def _check_info(infos: Infos, number: int) -> None:
    """Make sure that the first record's info pickles: it would be no accident if it did not."""
    for error in unpicklable(infos, [number]).values():
        raise error


def _read_by(recipe: Recipe, source: Source | None) -> Read:
    reader, stages = reader_of(recipe, source), RecordStages(recipe)

    def read(number: int) -> tuple[int, Any]:
        together = reader.together(np.array([number]))
        (named,) = recipe.order.named(np.array([number]))
        record = reader.one(named) if together is None else together[0]
        return named, stages.apply(named, record, stages.generators(0))

    return read


def _untyped(record: Any, padded: Collection[Path]) -> set[Path]:
    """The fields to be padded that are empty lists here, so that nothing says of what dtype their numbers are."""
    leaves = leaves_of(fields_of(record) or {})
    return {path for path in padded if isinstance(value := leaves.get(path), (list, tuple)) and not value}


def _typed(recipe: Recipe, read: Read, untyped: set[Path], first: int) -> Arrays:
    """For fields that are empty lists in the first record, empty arrays of the dtype that they have in later ones.

    Raises:
        RecordError: they are empty lists there, too, and there are more records, which may not be.
        Exception: what the source or a stage raised.
    """
    found: Arrays = {}
    numbers = recipe.order.examples(_PROBES)
    for number in numbers[numbers.index(first) + 1 :]:
        try:
            named, record = read(number)
            arrays, _ = split_record(record, named)
        except LanesEnded:
            return found
        except Exception as error:
            if not recipe.skip or is_stray(error):
                raise
            continue
        for path in untyped - found.keys() - _untyped(record, untyped):
            if path in arrays and arrays[path].ndim:
                found[path] = arrays[path][:0]
        if found.keys() == untyped:
            return found
    if len(numbers) < _PROBES:
        return found
    path, (named,) = min(untyped - found.keys()), recipe.order.named(np.array([first]))
    raise RecordError(
        f"record {named}, field '{field_name(path)}': expected what says of what dtype its numbers are, found an empty "
        f"list, as in all of the first {len(numbers)} records. Give an empty array instead: np.empty(0, np.int32), "
        "or np.empty((0, 4), np.float32) where items have four numbers each"
    )


def _delivered(
    recipe: Recipe,
    later: Sequence[Stage],
    arrays: Arrays,
    info: Mapping[Path, Any],
    number: int,
    *,
    varying: bool,
) -> Layout:
    """What the stages for batches make of a batch that has this record alone."""
    stacked, infos = apply(
        later,
        len(recipe.stages) - len(later),
        {path: array[None] for path, array in arrays.items()},
        {path: [value] for path, value in info.items()},
        [number],
        BatchDraw(recipe.order.seed, 0, np.array([number])),
    )
    _check_info(infos, number)
    return Layout.of_parts(
        {path: rows[0, ...] for path, rows in stacked.items()},
        infos,
        number=number,
        batch_size=recipe.rows,
        x64=recipe.x64,
        varying=stacked.keys() if varying else (),
    )
