"""Stages that run on NumPy values, in the worker processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from sys import getrefcount
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order import mix64
from datarax_mp.stages.foreign import grain_method
from datarax_mp.stages.pad import Pad

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
    batch size or where a run was resumed. Two random stages never share a stream.

    Attributes:
        fn: ``(record, np.random.Generator) -> record``. The generator is this record's alone, also when the stage
            keeps it. ``Generator.spawn`` is a TypeError, for its children could not be the same in every run. A library
            that takes a seed gets one from it: ``transform.set_random_seed(int(rng.integers(2**32)))``, say.

    >>> flip = RandomMapElement(lambda record, rng: {"x": record["x"][::-1] if rng.random() < 0.5 else record["x"]})
    """

    fn: Callable[[Record, np.random.Generator], Record]


@dataclass(frozen=True, slots=True)
class Filter:
    """Leave out the records for which a predicate is false; batches stay full.

    Which records are left is found out before the first batch: the workers read the whole source, run the stages
    before the filter, and ask the predicate. After that a filtered epoch is like one over a shorter source: the order
    is arithmetic, ``len(pipeline)`` is exact, shards are equally long, and resuming in the middle costs nothing.

    **What that costs:** one pass over the source (reading, and the stages up to the last filter), and 8 bytes a record
    that is left. The result is kept for as long as the source object lives, for every pipeline over it and as long as
    neither its content nor that of the stages up to there changes; both are looked at when an epoch begins, arrays at
    1 GB/s or quicker. Every change costs another pass, in which the epoch is 0. What can be decided from an index or a
    table of labels is better left out of the source to begin with.

    Because a record is in or out for good, a filter must come before all random stages.

    Attributes:
        fn: ``record -> bool``.

    >>> Filter(lambda record: record["label"] < 5).fn({"label": 3})
    True
    """

    fn: Callable[[Record], bool]


@dataclass(frozen=True, slots=True)
class MapBatch:
    """Apply a function to every stacked batch, in the worker, after all stages that take single records.

    Attributes:
        fn: ``dict of arrays (rows, ...) -> dict of arrays (rows, ...)``; ``rows`` must stay as it is. Fields that are
            no arrays (text, say) are lists of ``rows`` values, and may become arrays here: a batch is tokenised in one
            call.

    >>> MapBatch(lambda batch: {"x": batch["x"] / 255.0}).fn({"x": np.ones((2, 3))})["x"].shape
    (2, 3)
    """

    fn: Callable[[dict[str, Any]], dict[str, Any]]


HostStage: TypeAlias = MapElement | RandomMapElement | Filter | Pad | MapBatch


def as_host_stage(stage: Any, place: int) -> HostStage:
    """Normalise what a user put among the stages.

    Args:
        stage: one of the classes above, a callable, an object with ``.map(record)`` or ``.random_map(record, rng)``, or
            one of Grain's transforms.
        place: its place in the list, for messages.

    Raises:
        TypeError: it is none of these; of Grain's transforms that are none, the message says what is.
    """
    if isinstance(stage, Pad):
        return stage
    if isinstance(stage, (MapElement, RandomMapElement, Filter, MapBatch)):
        if not callable(stage.fn):
            raise TypeError(f"stages[{place}]: {type(stage).__name__} needs a callable, got {type(stage.fn).__name__}")
        return stage
    if (theirs := grain_method(stage, place)) is not None:
        kind, fn = theirs
        return MapElement(fn) if kind == "map" else Filter(fn) if kind == "filter" else RandomMapElement(fn)
    if callable(method := getattr(stage, "random_map", None)):
        return RandomMapElement(method)
    if callable(method := getattr(stage, "map", None)):
        return MapElement(method)
    if callable(stage):
        return MapElement(stage)
    raise TypeError(
        f"stages[{place}] of type {type(stage).__name__} is no stage: expected a callable, MapElement, "
        "RandomMapElement, Filter, Pad, MapBatch, DeviceStage, RandomDeviceStage, an nnx.Module, or an object with "
        ".map or .random_map"
    )


def stage_name(stage: Any) -> str:
    """How messages and states call a stage: its kind and its function, or what it pads."""
    if isinstance(stage, Pad):
        return str(stage)
    fn = getattr(stage, "fn", stage)
    fn = getattr(fn, "__self__", fn)  # a Grain transform's bound method goes by its object
    name = getattr(fn, "__name__", type(fn).__name__)
    return f"{type(stage).__name__}({name})"


class _Key(np.random.bit_generator.ISeedSequence):
    """Hands a bit generator its key as it is.

    NumPy's own way to pass a key first gathers entropy from the system and throws it away, which is most of the cost.
    It would also let ``Generator.spawn`` work, with children seeded by that entropy, no two runs alike; this raises.
    """

    def __init__(self, key: tuple[int, int]) -> None:
        self._words = np.array(key, np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> NDArray[np.uint64]:
        assert n_words == 2 and dtype is np.uint64  # Philox asks for its key
        return self._words


@lru_cache(maxsize=16)
def _epoch_key(seed: int, epoch: int) -> int:
    return mix64(mix64(seed) ^ mix64(epoch + 1))


def generator_for(seed: int, epoch: int, record: int, stage: int) -> np.random.Generator:
    """The random generator that a random stage gets for one record of one epoch.

    Making one costs 6 µs (14 µs by ``np.random.Philox(key=...)``), a small draw (one ``random``, one ``integers``) 3;
    so the pipeline takes them from ``Generators``, at 2 µs. ``scripts/measure_augment.py`` measures it.

    >>> bool(generator_for(0, 0, 5, 1).random() == generator_for(0, 0, 5, 1).random())
    True
    """
    key: Any = _Key((_epoch_key(seed, epoch), record))  # NumPy's stubs know no seed sequence but its own
    return np.random.Generator(np.random.Philox(key, counter=[0, 0, 0, stage]))


class Generators:
    """The generators of one stage in one epoch, record by record: ``generator_for``, for a third of the cost.

    One object is given the next record's key as long as nobody else refers to it. If the stage has kept it (or its bit
    generator, or a bound method), the reference count says so, the stage may have it, and the next record gets a
    new one: a kept generator goes on with its own record's stream, and nobody draws from another's.

    Not for several threads: each call of a program makes its own.

    Args:
        seed, epoch, stage: as ``generator_for`` takes them.

    >>> generators = Generators(0, 0, 1)
    >>> [bool(generators.of(n).random() == generator_for(0, 0, n, 1).random()) for n in (5, 6)]
    [True, True]
    """

    def __init__(self, seed: int, epoch: int, stage: int) -> None:
        self._keyed_by = (seed, epoch, stage)
        self._key = _epoch_key(seed, epoch)
        self._counter = (0, 0, 0, stage)
        self._renew(0)
        self._unshared = self._references()  # how many there are when all of them are ours

    def of(self, record: int) -> np.random.Generator:
        """The generator of one record; what an earlier call returned is to be let go before, or costs a new one."""
        if self._references() != self._unshared:
            self._renew(record)
            return self._generator
        self._bits.state = {
            "bit_generator": "Philox",
            "state": {"counter": self._counter, "key": (self._key, record)},
            "buffer": (0, 0, 0, 0),
            "buffer_pos": 4,  # all four words are used up: the next draw starts the stream
            "has_uint32": 0,
            "uinteger": 0,
        }
        return self._generator

    def _renew(self, record: int) -> None:
        seed, epoch, stage = self._keyed_by
        self._generator = generator_for(seed, epoch, record, stage)
        self._bits = self._generator.bit_generator

    def _references(self) -> tuple[int, int]:
        return getrefcount(self._generator), getrefcount(self._bits)
