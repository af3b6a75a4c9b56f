"""RandomMapElement: a random function of one record, and the generators that it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order import mix64
from datarax_mp.stages.base import Rank, Stage


@dataclass(frozen=True, slots=True)
class RandomMapElement(Stage):
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

    rank = Rank.RECORD
    random = True

    fn: Callable[[Any, np.random.Generator], Any]


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
