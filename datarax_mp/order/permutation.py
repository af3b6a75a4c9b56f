"""A keyed permutation of ``range(length)`` that can be asked for any position at once.

Construction: the generalised Feistel cipher of Black and Rogaway, "Ciphers with Arbitrary Finite Domains"
(CT-RSA 2002), with cycle walking. A position ``x`` is split into two digits of nearly equal range,
``x = left * b + right`` with ``a * b >= length``; each round adds a keyed hash of one digit to the other, modulo that
digit's range. Every round can be undone, so the whole is a bijection of ``range(a * b)``; a value that falls outside
``range(length)`` is sent through again until it falls inside, which keeps it a bijection of ``range(length)``. Because
``a * b`` exceeds ``length`` by less than ``2 * sqrt(length)``, hardly any value walks twice.

The hash is the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA
2014; constants of Stafford's variant 13). It is written out here, not taken from NumPy, so that an order recorded today
is the same order under every later version. This is a shuffle, not cryptography.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# Six rounds already pass the statistical tests from a few hundred records up; twelve make tiny lengths, whose digits
# carry only a bit or two, uniform over their permutations too, and cost nothing there.
_ROUNDS = 6
_ROUNDS_SMALL = 12
_SMALL_LENGTH = 1024

# Digits up to here have their hashes in tables, 0.8 MB in all at most: a batch of 256 records then takes 23 us instead
# of 65. That is every source below 268 million records.
_TABLED = 1 << 14

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB

_U1, _U2 = np.uint64(_MIX_1), np.uint64(_MIX_2)
_S30, _S27, _S32 = np.uint64(30), np.uint64(27), np.uint64(32)


def mix64(value: int) -> int:
    """Hash one 64-bit integer to another: the finaliser of SplitMix64 (a bijection).

    >>> mix64(0), mix64(1) != mix64(2)
    (0, True)
    """
    value &= _MASK
    value = ((value ^ (value >> 30)) * _MIX_1) & _MASK
    value = ((value ^ (value >> 27)) * _MIX_2) & _MASK
    return value ^ (value >> 31)


def permute(positions: NDArray[np.int64], length: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Map positions to records: the permutation of ``range(length)`` that belongs to (seed, epoch).

    Args:
        positions: int64 of any length ``n``, each in ``[0, length)``.
        length: the number of records, at least 1 and below 2**62.
        seed: any integer; the low 64 bits count.
        epoch: the epoch's number, from 0.

    Returns:
        int64 ``(n,)``: the record at each position. Memory and time are proportional to ``n``, whatever the length (but
        for tables of at most 0.8 MB, see ``_TABLED``).

    >>> permute(np.arange(6), 6, seed=7, epoch=0).tolist()
    [5, 4, 1, 0, 3, 2]
    >>> sorted(permute(np.arange(6), 6, seed=7, epoch=1).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    if length == 1:
        return np.zeros(len(positions), np.int64)
    range_left = math.isqrt(length - 1) + 1
    spans = range_left, -(-length // range_left)
    rounds = _rounds(seed, epoch, *spans, _ROUNDS_SMALL if length < _SMALL_LENGTH else _ROUNDS)
    values = _feistel(positions.astype(np.uint64), *spans, rounds)
    limit = np.uint64(length)
    outside = np.flatnonzero(values >= limit)
    while outside.size:
        values[outside] = walked = _feistel(values[outside], *spans, rounds)
        outside = outside[walked >= limit]
    return values.view(np.int64)


Digits: TypeAlias = NDArray[np.uint64]
Round: TypeAlias = Callable[[Digits], Digits]


@lru_cache(maxsize=16)
def _rounds(seed: int, epoch: int, range_left: int, range_right: int, count: int) -> tuple[Round, ...]:
    """Of each round the function that says, for one digit, what is added to the other."""
    key = mix64(mix64(seed + _GOLDEN) ^ mix64((epoch + 1) * _GOLDEN))
    functions: list[Round] = []
    for number in range(count):
        source, target = (range_left, range_right) if number % 2 else (range_right, range_left)
        function = partial(_hash, key=np.uint64(mix64(key + (number + 1) * _GOLDEN)), span=np.uint64(target))
        if source <= _TABLED:
            function = partial(_look_up, function(np.arange(source, dtype=np.uint64)))
        functions.append(function)
    return tuple(functions)


def _feistel(values: Digits, range_left: int, range_right: int, rounds: tuple[Round, ...]) -> Digits:
    span_left, span_right = np.uint64(range_left), np.uint64(range_right)
    left, right = np.divmod(values, span_right)
    for number, function in enumerate(rounds):
        if number % 2:
            _add(right, function(left), span_right)
        else:
            _add(left, function(right), span_left)
    left *= span_right
    left += right
    return left


def _add(target: Digits, increment: Digits, span: np.uint64) -> None:
    """``target = (target + increment) mod span``, where both are below ``span``; ``increment`` is used up."""
    target += increment
    np.subtract(target, span, out=increment)  # wraps around to something huge where there was nothing to subtract
    np.minimum(target, increment, out=target)


def _hash(digit: Digits, *, key: np.uint64, span: np.uint64) -> Digits:
    """A keyed hash of the digit: its top 32 bits, scaled to ``span`` by a multiplication."""
    hashed = digit ^ key
    hashed ^= hashed >> _S30
    hashed *= _U1
    hashed ^= hashed >> _S27
    hashed *= _U2
    hashed >>= _S32
    hashed *= span
    hashed >>= _S32
    return hashed


def _look_up(table: Digits, digit: Digits) -> Digits:
    return table.take(digit.view(np.int64), mode="clip")  # in range; "clip" spares the check
