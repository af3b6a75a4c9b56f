"""What follows from a trial: threads or processes, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MOST_WAITING = 0.12  # a share of time that threads may lose to each other: what processes cost to start and to hold
_LEAST_LOOKS = 20  # fewer say little
_IDLE = 0.1  # of its time that a thread has work for a core: below that it waits for a disk, a network or a sleep


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has been chosen.

    Attributes:
        kind: which workers there are.
        why: what speaks for them, as the end of a sentence.
    """

    kind: Literal["threads", "processes"]
    why: str


@dataclass(slots=True)
class Decision:
    """A pipeline's choice, which all of its sessions share.

    Attributes:
        verdict: None before the first epoch has begun.
        seconds: how long it took.
    """

    verdict: Verdict | None = None
    seconds: float = 0.0


def judge(alone: Sequence[int], together: Sequence[int], threads: int) -> Verdict:
    """Choose by how many threads were at work, at moments of one that works alone and of several at once.

    At work is who computes or could, so that it does not matter how many cores others leave them. With one alone, a
    share r of the looks finds it at work; the rest it waits for a disk, say. Where several do not disturb each other, r
    is each one's share as well. What is missing from that, they have waited for each other.

    Args:
        alone: of each look, how many were at work.
        together: the same for several at once.
        threads: how many those were.

    >>> judge([1] * 100, [2] * 98 + [1] * 2, 2).kind
    'threads'
    >>> judge([1] * 100, [1] * 100, 2)
    Verdict(kind='processes', why='each of 2 threads at once waited 50 % of its time for the others, mostly for the \
interpreter lock')
    """
    if min(len(alone), len(together)) < _LEAST_LOOKS:
        return Verdict("processes", f"only {len(alone)} and {len(together)} looks at threads were had in time")
    one, each = sum(alone) / len(alone), sum(together) / len(together) / threads
    if one < _IDLE:
        return Verdict("threads", f"one waited {100 * (1 - one):.0f} % of its time for something else than a core")
    waited = max(0.0, 1 - each / one)
    said = f"waited {100 * waited:.0f} % of its time for the others"
    if waited <= MOST_WAITING:
        return Verdict("threads", f"each of {threads} at once {said}")
    return Verdict("processes", f"each of {threads} threads at once {said}, mostly for the interpreter lock")
