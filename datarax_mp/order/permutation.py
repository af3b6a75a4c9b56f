"""A keyed permutation of ``range(length)`` that can be asked for any position at once.

Construction: the generalised Feistel cipher of Black and Rogaway, "Ciphers with Arbitrary Finite Domains"
(CT-RSA 2002), with cycle walking. A position ``x`` is split into two digits of nearly equal range,
``x = left * b + right`` with ``a * b >= length``; each round adds a keyed hash of one digit to the other, modulo that
digit's range. Every round can be undone, so the whole is a bijection of ``range(a * b)``; a value that falls outside
``range(length)`` is sent through again until it falls inside, which keeps it a bijection of ``range(length)``. Because
``a * b`` exceeds ``length`` by less than ``2 * sqrt(length)``, hardly any value walks twice.

``permute_each`` asks many permutations at once, each for one position: what a mixture of sources needs, whose batch has
a few records of each. It says just what ``permute`` says, without its tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order.hashing import GOLDEN, MASK, Words, key_of, keyed, keys_of, mix64, mix64_each

# Six rounds already pass the statistical tests from a few hundred records up; twelve make tiny lengths, whose digits
# carry only a bit or two, uniform over their permutations too, and cost nothing there.
_ROUNDS = 6
_ROUNDS_SMALL = 12
_SMALL_LENGTH = 1024

# Digits up to here have their hashes in tables, 0.8 MB in all at most: a batch of 256 records then takes 23 us instead
# of 65. That is every source below 268 million records.
_TABLED = 1 << 14

MOST_SORTED = 1024  # records or classes

_ROUND_KEYS = np.array([(number + 1) * GOLDEN & MASK for number in range(_ROUNDS_SMALL)], np.uint64)[:, None]


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


def permute_each(
    positions: NDArray[np.int64], lengths: NDArray[np.int64], seeds: Words, epochs: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Map each position to its record by a permutation of its own.

    Args:
        positions: int64 ``(n,)``, each in ``[0, length)`` of its own length.
        lengths: int64 ``(n,)``, each at least 1 and below 2**62.
        seeds: uint64 ``(n,)``, hashed: ``mix64(seed + GOLDEN)``.
        epochs: int64 ``(n,)``.

    Returns:
        int64 ``(n,)``: ``permute(position, length, seed=seed, epoch=epoch)`` for each of them.

    >>> seeds = np.full(6, mix64(7 + GOLDEN), np.uint64)
    >>> permute_each(np.arange(6), np.full(6, 6), seeds, np.zeros(6, np.int64)).tolist()
    [5, 4, 1, 0, 3, 2]
    """
    lefts = _ceil_of_root(lengths)
    rights = -(-lengths // lefts)
    spans = lefts.view(np.uint64), rights.view(np.uint64)
    keys = keys_of(seeds, epochs)
    values = np.where(lengths == 1, 0, positions).view(np.uint64)
    walking = np.flatnonzero(lengths > 1)
    small = lengths < _SMALL_LENGTH
    while walking.size:
        whole = walking.size == len(values)
        few = small if whole else small[walking]
        span_left, span_right = spans if whole else (spans[0][walking], spans[1][walking])
        walked = _feistel_each(values if whole else values[walking], span_left, span_right, keys[walking], few)
        values[walking] = walked
        walking = walking[walked >= lengths.view(np.uint64)[walking]]
    return values.view(np.int64)


def sort_each(numbers: NDArray[np.int64], length: int, seed: np.uint64) -> NDArray[np.int64]:
    """A permutation of ``range(length)`` for each number, by sorting random words: the quickest for few at a time.

    Args:
        numbers: int64 ``(n,)``.
        length: at most ``MOST_SORTED``.
        seed: hashed, as for ``permute_each``.

    Returns:
        int64 ``(n, length)``. Other permutations than those of ``permute``.
    """
    words = mix64_each(numbers.view(np.uint64) ^ seed)[:, None] + np.arange(length, dtype=np.uint64) * np.uint64(GOLDEN)
    return mix64_each(words).argsort(axis=1, kind="stable")


Digits: TypeAlias = NDArray[np.uint64]
Round: TypeAlias = Callable[[Digits], Digits]


@lru_cache(maxsize=16)
def _rounds(seed: int, epoch: int, range_left: int, range_right: int, count: int) -> tuple[Round, ...]:
    """Of each round the function that says, for one digit, what is added to the other."""
    key = key_of(seed, epoch)
    functions: list[Round] = []
    for number in range(count):
        source, target = (range_left, range_right) if number % 2 else (range_right, range_left)
        function = partial(keyed, key=np.uint64(mix64(key + (number + 1) * GOLDEN)), span=np.uint64(target))
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


def _add(target: Digits, increment: Digits, span: Digits | np.uint64) -> None:
    """``target = (target + increment) mod span``, where both are below ``span``; ``increment`` is used up."""
    target += increment
    np.subtract(target, span, out=increment)  # wraps around to something huge where there was nothing to subtract
    np.minimum(target, increment, out=target)


def _feistel_each(values: Digits, lefts: Digits, rights: Digits, keys: Words, small: NDArray[np.bool_]) -> Digits:
    """One pass of ``_feistel`` for each value, with ranges and keys of its own."""
    left, right = np.divmod(values, rights)
    _go_rounds(left, right, lefts, rights, keys, range(_ROUNDS))
    if small.any():
        some = np.flatnonzero(small)
        few = left[some], right[some]
        _go_rounds(*few, lefts[some], rights[some], keys[some], range(_ROUNDS, _ROUNDS_SMALL))
        left[some], right[some] = few
    left *= rights
    left += right
    return left


def _go_rounds(left: Digits, right: Digits, lefts: Digits, rights: Digits, keys: Words, numbers: range) -> None:
    """Some of the rounds, in place."""
    of_round = mix64_each(keys + _ROUND_KEYS[numbers.start : numbers.stop])
    for number, key in zip(numbers, of_round, strict=True):
        source, target, span = (left, right, rights) if number % 2 else (right, left, lefts)
        _add(target, keyed(source, key, span), span)


def _ceil_of_root(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """``math.isqrt(length - 1) + 1`` for each; a float's root may be one off where lengths have more than 52 bits."""
    roots = np.sqrt(lengths - 1.0).astype(np.int64)
    roots -= roots * roots > lengths - 1
    roots += (roots + 1) * (roots + 1) <= lengths - 1
    return roots + 1


def _look_up(table: Digits, digit: Digits) -> Digits:
    return table.take(digit.view(np.int64), mode="clip")  # in range; "clip" spares the check
