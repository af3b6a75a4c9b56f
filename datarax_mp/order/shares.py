"""Taking turns by weight: after any number of turns, each has had its share of them to within less than one.

The turns are those of one processor that works on tasks of these weights by Pfair scheduling (Baruah, Cohen, Plaxton,
Varvel, "Proportionate progress", 1996): turn j of a task of share w / W lies between ``floor(j W / w)`` and
``ceil((j + 1) W / w)``, and of those that may have a turn the one that must have it first gets it. Every deadline is
kept, since the windows are those of Tijdeman's chairman assignment problem (1980), and so at every moment
``|count - turns * w / W| < 1``. (Largest remainders by themselves, as seats are given to parties, take seats back
as the house grows.)

The turns repeat after W of them, so that one table of that length says whose turn n is and which one of that owner's.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

MOST_TURNS = 1 << 18  # of a table: 1.5 MB, made in some 0.2 s

_DENOMINATOR = 1_000_000  # of weights that are floats: 0.1 is 1/10


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Whose turn it is.

    Attributes:
        weights: each one's turns among ``len(owner)`` of them.
        owner: int64 ``(turns,)``, whose turn it is.
        rank: int64 ``(turns,)``, how many turns that one has had before.

    >>> shares = Shares.of([3, 1])
    >>> shares.owner.tolist(), shares.counts(6)
    ([0, 0, 0, 1], [5, 1])
    """

    weights: tuple[int, ...]
    owner: NDArray[np.int32]
    rank: NDArray[np.int32]

    @classmethod
    def of(cls, weights: Sequence[float | Fraction], most: int = MOST_TURNS) -> Shares:
        """The turns for weights that are not negative and not all 0, with at most so many before they repeat."""
        return _made(whole_weights(weights, most))

    def counts(self, turns: int) -> list[int]:
        """How many of the first so many turns each has had."""
        rounds, rest = divmod(turns, len(self.owner))
        begun = np.bincount(self.owner[:rest], minlength=len(self.weights)).tolist()
        return [rounds * weight + more for weight, more in zip(self.weights, begun, strict=True)]

    def turn(self, who: int, number: int) -> int:
        """The turn that is somebody's ``number``-th, from 0; the weight must not be 0."""
        rounds, rank = divmod(number, self.weights[who])
        return rounds * len(self.owner) + int(np.flatnonzero(self.owner == who)[rank])


def whole_weights(weights: Sequence[float | Fraction], most: int) -> tuple[int, ...]:
    """Weights as the smallest whole numbers in the same proportion.

    Where these add up to more than ``most``, they are the nearest that add up to ``most``, by largest remainders and at
    least 1 each: so the shares are exact where they are given as people write them, and else off by less than
    ``1 / most``.

    >>> whole_weights([0.7, 0.2, 0.1], 100), whole_weights([1, 123_456], 1000)
    ((7, 2, 1), (1, 999))
    """
    exact = [
        Fraction(weight).limit_denominator(_DENOMINATOR) if weight >= 1e-3 else Fraction(weight) for weight in weights
    ]
    scale = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    divisor = math.gcd(*whole)
    whole = [weight // divisor for weight in whole]
    if (total := sum(whole)) <= most:
        return tuple(whole)
    lower = [max(weight * most // total, 1) if weight else 0 for weight in whole]
    # What is left over goes to, or what is too much comes from, those that it brings nearest to their shares.
    behind = sorted(range(len(whole)), key=lambda who: lower[who] * total - whole[who] * most)
    left = most - sum(lower)
    for turn in range(abs(left)):
        who = behind[turn % len(behind)] if left > 0 else max(range(len(lower)), key=lower.__getitem__)
        lower[who] += 1 if left > 0 else -1
    return tuple(lower)


@lru_cache(maxsize=64)
def _made(weights: tuple[int, ...]) -> Shares:
    turns = sum(weights)
    owner = np.empty(turns, np.int32)
    due: list[tuple[int, int]] = [(-(-turns // weight), who) for who, weight in enumerate(weights) if weight]
    heapq.heapify(due)
    later: dict[int, list[tuple[int, int]]] = {}
    had = [0] * len(weights)
    order = []
    for turn in range(turns):
        for item in later.pop(turn, ()):
            heapq.heappush(due, item)
        _, who = heapq.heappop(due)
        order.append(who)
        had[who] += 1
        if had[who] < (weight := weights[who]):
            opens = had[who] * turns // weight
            item = (-(-(had[who] + 1) * turns // weight), who)
            if opens <= turn + 1:
                heapq.heappush(due, item)
            else:
                later.setdefault(opens, []).append(item)
    owner[:] = order
    rank = np.empty(turns, np.int32)
    for who, weight in enumerate(weights):
        rank[owner == who] = np.arange(weight)
    for table in (owner, rank):
        table.flags.writeable = False
    return Shares(weights, owner, rank)
