"""Stages that run on NumPy values, in the worker processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.order import mix64

Record: TypeAlias = Any


@dataclass(frozen=True, slots=True)
class MapElement:
    """Apply a function to every record, in the worker. A plain callable among the stages means the same.

    Attributes:
        fn: ``record -> record``, dicts of NumPy values; a record's arrays are read-only views.

    >>> MapElement(lambda record: {"x": record["x"] * 2}).fn({"x": 3})
    {'x': 6}
    """

    fn: Callable[[Record], Record]


@dataclass(frozen=True, slots=True)
class RandomMapElement:
    """Apply a random function to every record, in the worker.

    The generator is counter-based (Philox: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) and
    keyed by (seed, epoch, record, stage), so that a record's draw depends on nothing else: not on the worker count, the
    batch size or where a run was resumed.

    Attributes:
        fn: ``(record, np.random.Generator) -> record``.

    >>> flip = RandomMapElement(lambda record, rng: {"x": record["x"][::-1] if rng.random() < 0.5 else record["x"]})
    """

    fn: Callable[[Record, np.random.Generator], Record]


@dataclass(frozen=True, slots=True)
class MapBatch:
    """Apply a function to every stacked batch, in the worker, after all stages that take single records.

    Attributes:
        fn: ``dict of arrays (rows, ...) -> dict of arrays (rows, ...)``; ``rows`` must stay as it is.

    >>> MapBatch(lambda batch: {"x": batch["x"] / 255.0}).fn({"x": np.ones((2, 3))})["x"].shape
    (2, 3)
    """

    fn: Callable[[dict[str, Any]], dict[str, Any]]


HostStage: TypeAlias = MapElement | RandomMapElement | MapBatch


def as_host_stage(stage: Any, place: int) -> HostStage:
    """Normalise what a user put among the stages.

    Args:
        stage: one of the classes above, a callable, or an object with ``.map(record)`` or ``.random_map(record, rng)``
            (Grain's transforms).
        place: its place in the list, for messages.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(stage, (MapElement, RandomMapElement, MapBatch)):
        if not callable(stage.fn):
            raise TypeError(f"stages[{place}]: {type(stage).__name__} needs a callable, got {type(stage.fn).__name__}")
        return stage
    if callable(method := getattr(stage, "random_map", None)):
        return RandomMapElement(method)
    if callable(method := getattr(stage, "map", None)):
        return MapElement(method)
    if callable(stage):
        return MapElement(stage)
    raise TypeError(
        f"stages[{place}] of type {type(stage).__name__} is no stage: expected a callable, MapElement, "
        "RandomMapElement, MapBatch, DeviceStage, an nnx.Module, or an object with .map or .random_map"
    )


def stage_name(stage: Any) -> str:
    """How messages and states call a stage: its kind and its function."""
    fn = getattr(stage, "fn", stage)
    fn = getattr(fn, "__self__", fn)  # a Grain transform's bound method goes by its object
    name = getattr(fn, "__name__", type(fn).__name__)
    return f"{type(stage).__name__}({name})"


def generator_for(seed: int, epoch: int, record: int, stage: int) -> np.random.Generator:
    """The random generator that a random stage gets for one record of one epoch."""
    key = mix64(mix64(seed) ^ mix64(epoch + 1))
    return np.random.Generator(np.random.Philox(key=[key, record], counter=[0, 0, 0, stage]))
