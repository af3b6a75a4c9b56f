"""Hashes of integers, from which all that is random in an order is made.

The hash is the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA
2014; constants of Stafford's variant 13). It is written out here, not taken from NumPy, so that an order recorded today
is the same order under every later version. This is for shuffling, not cryptography.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Words: TypeAlias = NDArray[np.uint64]

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1

_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

_U1, _U2, _UG = np.uint64(_MIX_1), np.uint64(_MIX_2), np.uint64(GOLDEN)
_S30, _S27, _S31, _S32, _S11 = (np.uint64(bits) for bits in (30, 27, 31, 32, 11))


def mix64(value: int) -> int:
    """Hash one 64-bit integer to another: the finaliser of SplitMix64 (a bijection).

    >>> mix64(0), mix64(1) != mix64(2)
    (0, True)
    """
    value &= MASK
    value = ((value ^ (value >> 30)) * _MIX_1) & MASK
    value = ((value ^ (value >> 27)) * _MIX_2) & MASK
    return value ^ (value >> 31)


def mix64_each(values: Words) -> Words:
    """``mix64`` of each of several integers, as a new array.

    >>> mix64_each(np.array([1, 2], np.uint64)).tolist() == [mix64(1), mix64(2)]
    True
    """
    values = values ^ (values >> _S30)
    values *= _U1
    values ^= values >> _S27
    values *= _U2
    values ^= values >> _S31
    return values


def key_of(seed: int, epoch: int) -> int:
    """The 64 bits that all randomness of an epoch is made of."""
    return mix64(mix64(seed + GOLDEN) ^ mix64((epoch + 1) * GOLDEN))


def keys_of(seeds: Words, epochs: NDArray[np.int64]) -> Words:
    """``key_of`` for each of several seeds and epochs; the seeds are hashed already, ``mix64(seed + GOLDEN)``."""
    return mix64_each(seeds ^ mix64_each((epochs.view(np.uint64) + np.uint64(1)) * _UG))


def part_seed(seed: int, part: int) -> int:
    """The seed of one of several parts, each of which is shuffled by itself."""
    return mix64(seed ^ mix64((part + 1) * GOLDEN))


def keyed(words: Words, key: Words | np.uint64, span: Words | np.uint64) -> Words:
    """A keyed hash of each word: its top 32 bits, scaled to ``span`` by a multiplication. A new array."""
    hashed = words ^ key
    hashed ^= hashed >> _S30
    hashed *= _U1
    hashed ^= hashed >> _S27
    hashed *= _U2
    hashed >>= _S32
    hashed *= span
    hashed >>= _S32
    return hashed


def uniform(key: int, positions: NDArray[np.int64]) -> NDArray[np.float64]:
    """A random number in ``[0, 1)`` for each position, of 53 bits."""
    words = mix64_each((positions.view(np.uint64) + np.uint64(1)) * _UG + np.uint64(key))
    return (words >> _S11).astype(np.float64) * 2.0**-53
