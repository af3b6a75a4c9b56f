"""Stages of other stages: one behind the other, one of several, one with a probability.

What they are made of is all for single records, all for stacked batches, or all for the device, and so are they. They
are functions that return an ordinary stage, which is random if anything in it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from datarax_mp.stages.base import Rank, Stage
from datarax_mp.stages.combined import Chained, Combined
from datarax_mp.stages.kinds import as_stage
from datarax_mp.stages.map_batch import MapBatch
from datarax_mp.stages.map_element import MapElement
from datarax_mp.stages.random_map import RandomMapElement
from datarax_mp.stages.random_map_batch import RandomMapBatch


def chain(*stages: Any) -> Stage:
    """Stages one behind the other as one, to be given to ``one_of`` or ``sometimes``.

    Args:
        *stages: what may stand among a pipeline's stages, but for ``Filter``, ``FlatMap``, ``Pad`` and modules; all for
            records, all for batches or all for the device.

    Raises:
        TypeError: one of them cannot be a part of another.
        ValueError: there is none, or some are for records and others for batches or the device.

    >>> chain(lambda record: record + 1, lambda record: record * 2).fn(3)
    8
    """
    return _combined("chain", stages, ())


def one_of(*stages: Any, weights: Sequence[float] | None = None) -> Stage:
    """One of several stages, drawn anew for each record (of stages for batches: for each batch).

    What all of them make must have the same fields, shapes and dtypes. Stages on the device are drawn for each record
    where the random ones among them are ``per_record``, by working out all of them, and otherwise for each batch.

    Args:
        *stages: as for ``chain``.
        weights: how often each is drawn, in proportion; None is equally often.

    Raises:
        TypeError: one of them cannot be a part of another.
        ValueError: there is none, they are of several ranks, or the weights do not fit.

    >>> import numpy as np
    >>> stage = one_of(lambda record: record + 1, lambda record: record - 1, weights=(3, 1))
    >>> sorted({stage.fn(0, np.random.default_rng(n)) for n in range(20)})
    [-1, 1]
    """
    given = (1.0,) * len(stages) if weights is None else tuple(map(float, weights))
    if len(given) != len(stages) or not all(0 <= weight < math.inf for weight in given) or not sum(given):
        raise ValueError(f"weights must be a number of at least 0 for each of {len(stages)} stages, got {weights!r}")
    total = sum(given)
    return _combined("one_of", stages, tuple(weight / total for weight in given))


def sometimes(stage: Any, p: float) -> Stage:
    """A stage that is applied with a probability, and otherwise leaves a record (or a batch) as it is.

    Args:
        stage: as for ``chain``; it must keep fields, shapes and dtypes.
        p: the probability.

    Raises:
        TypeError: it cannot be a part of another.
        ValueError: ``p`` is no probability.

    >>> import numpy as np
    >>> stage = sometimes(lambda record: record + 1, p=0.25)
    >>> sum(stage.fn(0, np.random.default_rng(n)) for n in range(1000))
    225
    """
    if not 0 <= p <= 1:
        raise ValueError(f"sometimes: p must be from 0 to 1, got {p!r}")
    member = as_stage(stage, 0)
    return _combined("sometimes", (member, _same_rank(member)), (float(p), 1.0 - p))


def _same_rank(member: Stage) -> Stage:
    """A stage of the same rank that changes nothing."""
    if member.rank is Rank.DEVICE:
        from datarax_mp.stages.device import DeviceStage  # delayed: it imports JAX

        return DeviceStage(_unchanged)
    return MapBatch(_unchanged) if member.rank is Rank.BATCH else MapElement(_unchanged)


def _unchanged(data: Any) -> Any:
    return data


def _combined(kind: str, stages: Sequence[Any], shares: tuple[float, ...]) -> Stage:
    members = tuple(as_stage(stage, place) for place, stage in enumerate(stages))
    if not members:
        raise ValueError(f"{kind} needs at least one stage")
    for member in members:
        if member.decides or member.expands or member.rank is Rank.PAD:
            raise TypeError(f"{kind}: {member.name} cannot be a part of another stage; put it among the pipeline's")
    if len({member.rank for member in members}) > 1:
        ranks = ", ".join(f"{member.name} for {member.rank.name.lower()}s" for member in members)
        raise ValueError(f"{kind}: all stages must be for records, all for batches or all for the device, got {ranks}")
    if members[0].rank is Rank.DEVICE:
        from datarax_mp.stages.combine_device import combined_on_device  # delayed: it imports JAX

        return combined_on_device(kind, members, shares)
    random = bool(shares) or any(member.random for member in members)
    fn: Any = Combined(kind, members, shares) if random else Chained(members)
    if members[0].rank is Rank.BATCH:
        return RandomMapBatch(fn) if random else MapBatch(fn)
    return RandomMapElement(fn) if random else MapElement(fn)
