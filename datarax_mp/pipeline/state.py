"""A pipeline's position as plain JSON values.

    {"version": 1, "seed": 123, "epoch": 2, "step": 17, "fingerprint": {"length": 50000, "batch_size": 128, ...}}

``step`` counts the batches that the *user* has received in ``epoch``, never what was read ahead. The worker count, the
prefetch depth and the output are no part of it: they do not change the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datarax_mp.order import Order

VERSION = 1


@dataclass(slots=True)
class Position:
    """Where the user is.

    Attributes:
        epoch: the epoch, from 0.
        step: batches received in it.
    """

    epoch: int
    step: int


def fingerprint(order: Order, source: Any, stages: Sequence[str]) -> dict[str, Any]:
    """What must be alike for a position to mean the same records."""
    return {
        "source": getattr(source, "name", None) or type(source).__name__,
        "length": order.length,
        "batch_size": order.batch_size,
        "shuffle": order.shuffle,
        "drop_last": order.drop_last,
        "shard": [order.shard_index, order.shard_count],
        "stages": list(stages),
    }


def dump(position: Position, order: Order, print_: Mapping[str, Any]) -> dict[str, Any]:
    """The state as a new dict of plain JSON values."""
    return {
        "version": VERSION,
        "seed": order.seed,
        "epoch": position.epoch,
        "step": position.step,
        "fingerprint": dict(print_),
    }


def load(state: Any, print_: Mapping[str, Any], steps: int) -> tuple[Position, int]:
    """Read a state: the position and the seed.

    Raises:
        TypeError: it is no state.
        ValueError: it belongs to a pipeline that differs; the message names what differs, with both values.
    """
    if not isinstance(state, Mapping) or "fingerprint" not in state:
        raise TypeError(f"expected a state made by get_state(), found {type(state).__name__}")
    if state.get("version") != VERSION:
        raise ValueError(f"the state is of version {state.get('version')!r}; this release reads version {VERSION}")
    theirs = state["fingerprint"]
    differing = [
        f"{name}: the state has {theirs.get(name)!r}, this pipeline has {print_.get(name)!r}"
        for name in {**print_, **theirs}
        if theirs.get(name) != print_.get(name)
    ]
    if differing:
        raise ValueError(f"the state belongs to another pipeline ({'; '.join(differing)})")
    position = Position(int(state["epoch"]), int(state["step"]))
    if position.epoch < 0 or not 0 <= position.step <= steps:
        raise ValueError(f"step {position.step} of epoch {position.epoch} does not exist: an epoch has {steps} steps")
    return position, int(state["seed"])
