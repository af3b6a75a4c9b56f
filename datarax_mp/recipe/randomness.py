"""The global random generators, as the user's code finds them.

A process that is forked has its parent's state of ``np.random``, so that all workers would draw the same numbers; which
of them makes a batch is chance, so that no two runs would be alike. So before each step they are seeded by what the
step is: (seed, epoch, position of its first record). A position rather than a step's number, because hosts that share
an epoch have the same steps and must not draw the same numbers.

Seeding takes 6 µs a step (NumPy 1.3, ``random`` 3, torch 1), and as much again because it turns a processor's caches
over, which a batch of table rows or tokens would feel. So it is done only for code that draws: a *glance* at the
states, before the first record or a run and after it, shows for a microsecond whether anything was drawn. Torch and
OpenCV are never imported, only looked for.
"""

from __future__ import annotations

import ctypes
import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.order import mix64

_GOLDEN = 0x9E3779B97F4A7C15  # parts this stream from the order's and from the random stages' generators
_LOW = 0xFFFFFFFF
_TORCH_SEED = 67280421310721  # what torch's generator is seeded with when torch is imported
_WORDS = 624  # of a Mersenne Twister, which all but torch's and OpenCV's are

_numpy: Any = np.random  # the stubs leave out two functions that it has had since 1.24

Glance: TypeAlias = tuple[object, ...]


@lru_cache(maxsize=16)
def _epoch_key(seed: int, epoch: int) -> int:
    return mix64(mix64(seed ^ _GOLDEN) + epoch + 1)


def seed_globals(seed: int, epoch: int, position: int) -> None:
    """Seed all global generators there are in this process.

    Args:
        seed: the pipeline's.
        epoch: the epoch.
        position: of the step's first record, as no other step of the epoch has it on any host.
    """
    key = seed_unseen(seed, epoch, position)
    try:
        np.random.seed(key & _LOW)
    except TypeError:  # the user has put another kind of bit generator in, which takes no seed
        _numpy.set_bit_generator(np.random.MT19937())
        np.random.seed(key & _LOW)
    random.seed(key)
    if (torch := _torch()) is not None:
        torch.manual_seed(key)


def unseen() -> bool:
    """Whether there is a generator that no glance can see: OpenCV's."""
    return _cv2() is not None


def seed_unseen(seed: int, epoch: int, position: int) -> int:
    """Seed the generators that no glance can see, for code that draws from no other.

    Returns:
        64 bits, for the seeds of the others.
    """
    key = mix64(_epoch_key(seed, epoch) ^ mix64(position + 1))
    if (cv2 := _cv2()) is not None:
        cv2.setRNGSeed(key >> 33)
    return key


def _torch() -> Any:
    """Torch's generator, if the program has imported torch."""
    return getattr(sys.modules.get("torch"), "default_generator", None)


def _cv2() -> Any:
    module = sys.modules.get("cv2")
    return module if hasattr(module, "setRNGSeed") else None


class _Twister:
    """A Mersenne Twister's state where it lies in memory.

    Args:
        key: the address of its words.
        position: the address of the int32 that says which of them comes next.
    """

    def __init__(self, key: int, position: int) -> None:
        self._key = memoryview((ctypes.c_uint32 * _WORDS).from_address(key)).cast("B").cast("I")
        self._position = memoryview(ctypes.c_uint32.from_address(position)).cast("B").cast("I")

    def glance(self) -> tuple[int, int]:
        """What changes with every draw; the second word, because seeding may set the first to a constant."""
        return self._position[0], self._key[1]

    def copy(self) -> tuple[bytes, bytes]:
        """The whole state."""
        return bytes(self._key), bytes(self._position)

    def set(self, state: tuple[bytes, bytes]) -> None:
        """Go back to a state."""
        self._key[:], self._position[:] = (memoryview(part).cast("I") for part in state)


@lru_cache(maxsize=1)
def _of_numpy(bits: Any) -> _Twister | None:
    """NumPy's, by the addresses that it offers for use from C."""
    if type(bits) is not np.random.MT19937:
        return None
    address = bits.ctypes.state_address
    return _Twister(address, address + 4 * _WORDS)


@lru_cache(maxsize=1)
def _of_python() -> _Twister | None:
    """The standard library's: behind an object's header lie the position and the words (CPython, unchanged since 2.4).

    None where a try shows that it is not so.
    """
    sample, instance = random.Random(1), random._inst  # type: ignore[attr-defined]
    if sys.implementation.name != "cpython" or type(instance) is not random.Random:
        return None
    start = object.__basicsize__
    if random.Random.__basicsize__ < start + 4 * (_WORDS + 1):
        return None
    twister = _Twister(id(sample) + start + 4, id(sample) + start)
    for _ in range(2):
        if twister.glance() != (sample.getstate()[1][-1], sample.getstate()[1][1]):
            return None
        sample.random()
    return _Twister(id(instance) + start + 4, id(instance) + start)


def can_glance() -> bool:
    """Whether draws can be seen by the states: not where other generators stand for the usual ones."""
    return _of_numpy(_numpy.get_bit_generator()) is not None and _of_python() is not None


def glance() -> Glance:
    """What is different after something was drawn, or after torch or OpenCV was imported; see ``can_glance``."""
    bits = _numpy.get_bit_generator()
    numpy_state, python_state, torch = _of_numpy(bits), _of_python(), _torch()
    return (
        bits,
        numpy_state and numpy_state.glance(),
        python_state and python_state.glance(),
        None if torch is None else torch.get_state().numpy().tobytes(),
        _cv2() is not None,
    )


def imported() -> tuple[bool, bool]:
    """Which of the libraries that have a generator of their own are there: torch and OpenCV."""
    return _torch() is not None, _cv2() is not None


def is_alone() -> bool:
    """Whether there is no other thread that could draw meanwhile."""
    return threading.active_count() == 1


@contextmanager
def put_back(*, quick: bool, drew: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Leave the calling process's global generators as they were, whatever is drawn inside.

    OpenCV's cannot be read. It is seeded afterwards by a number that was drawn from it before, so that it depends on
    nothing but what the caller had done with it.

    Args:
        quick: whether most likely nothing will be drawn: 1 µs instead of 70, but if something is drawn all the same,
            the second half of a pair of normal numbers that NumPy keeps for the next call is lost.
        drew: asked afterwards whether what was drawn may have been drawn inside; otherwise it was another thread, for
            which nothing is put back: it would draw the same numbers again.
    """
    before = glance() if quick and can_glance() else None
    torch, cv2 = _torch(), _cv2()
    restore = [_saved() if before is None else _saved_quickly()]
    if torch is not None:
        torch_state = torch.get_state()
        restore.append(lambda: torch.set_state(torch_state))
    cv2_seed = None if cv2 is None else _draw(cv2)
    try:
        yield
    finally:
        if (before is None or glance() != before) and drew():
            for undo in restore:
                undo()
            if torch is None and (imported := _torch()) is not None:
                imported.manual_seed(_TORCH_SEED)  # as it is when it has just been imported
        if cv2_seed is not None:
            cv2.setRNGSeed(cv2_seed)


def _saved() -> Callable[[], None]:
    bits, numpy_state, python_state = _numpy.get_bit_generator(), np.random.get_state(legacy=False), random.getstate()

    def restore() -> None:
        if _numpy.get_bit_generator() is not bits:
            _numpy.set_bit_generator(bits)
        np.random.set_state(numpy_state)
        random.setstate(python_state)

    return restore


def _saved_quickly() -> Callable[[], None]:
    bits = _numpy.get_bit_generator()
    numpy_state, python_state = _of_numpy(bits), _of_python()
    assert numpy_state is not None and python_state is not None
    states = numpy_state.copy(), python_state.copy()
    instance: Any = random._inst  # type: ignore[attr-defined]
    gauss = instance.gauss_next

    def restore() -> None:
        if _numpy.get_bit_generator() is not bits:
            _numpy.set_bit_generator(bits)
        np.random.seed(0)  # forgets the half of a pair
        numpy_state.set(states[0])
        python_state.set(states[1])
        instance.gauss_next = gauss

    return restore


def _draw(cv2: Any) -> int:
    number = np.zeros((1, 1), np.int32)
    cv2.randu(number, 0, 1 << 30)
    return int(number[0, 0])
