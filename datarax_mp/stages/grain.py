"""Grain's transforms among the stages: what each is here.

They are known by their types, in any of the places where Grain's releases keep them, so that an object of somebody
else's that happens to have a ``.filter`` is not taken for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_TAKEN = {
    "Map": "map",
    "MapTransform": "map",
    "RandomMap": "random_map",
    "RandomMapTransform": "random_map",
    "TfRandomMap": "np_random_map",
    "TfRandomMapTransform": "np_random_map",
    "Filter": "filter",
    "FilterTransform": "filter",
    "FlatMap": "flat_map",
    "FlatMapTransform": "flat_map",
}

_REFUSED = {
    "MapWithIndex": (
        "a record's number is not handed to stages: let the source put it into the record, say {'index': number, ...}, "
        "or read it from batch.metadata[row].index"
    ),
    "Batch": "the pipeline makes batches: Pipeline(batch_size={size}, drop_last={drop}); a batch_fn is a MapBatch(fn)",
    "Operation": "it works on an iterator of records: put its function among the stages, as fn, RandomMapElement(fn), "
    "Filter(fn) or MapBatch(fn)",
    "Dataset": "it is a data set: give the pipeline a source, and what was done to its records as stages",
    "": "of Grain's transforms, Map, RandomMap, Filter and FlatMap are taken; other stages are in datarax_mp",
}


def grain_method(stage: Any, place: int) -> tuple[str, Callable[..., Any]] | None:
    """What a transform of Grain's does to a record, as ``("map" | "random_map" | "filter" | ..., method)``.

    Args:
        stage: what a user put among the stages.
        place: its place in the list, for messages.

    Returns:
        None if it is none of Grain's.

    Raises:
        TypeError: it is one of Grain's that is no stage here; the message says what is.
    """
    names = [base.__name__ for base in type(stage).__mro__ if base.__module__.partition(".")[0] == "grain"]
    if not names:
        return None
    for name in names:
        if (method := _TAKEN.get(name)) is not None:
            return method, getattr(stage, method)
    kind = next(kind for kind in _REFUSED if any(kind in name for name in names))
    size, drop = getattr(stage, "batch_size", "..."), getattr(stage, "drop_remainder", "...")
    ours = _REFUSED[kind].replace("{size}", str(size)).replace("{drop}", str(drop))
    raise TypeError(f"stages[{place}] of type {type(stage).__name__} is Grain's {names[-1]}: {ours}")
