"""Pipelines whose records come out of iterators: what they cannot be combined with, and their part of a state."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from datarax_mp.order import Order, ShuffleWindow
from datarax_mp.order.lanes import LaneCursor, LaneOrder, Lanes
from datarax_mp.pipeline.config import Config
from datarax_mp.sources.cursors import loaded, not_plain, packed
from datarax_mp.sources.facts import SourceFacts
from datarax_mp.stages.flat_map import FlatMap

_MOST = (1 << 62) - 1


def lanes_of(facts: SourceFacts, config: Config) -> Lanes:
    """What such a pipeline chooses from.

    Raises:
        ValueError: an argument needs what iterators do not have.
    """
    wanted, name = config.wanted, facts.name
    shuffle = wanted.shuffle
    if wanted.sampler is not None or wanted.batch_by is not None:
        other = type(wanted.sampler or wanted.batch_by).__name__
        raise ValueError(f"{other} is about records that can be asked for by number, and those of {name} cannot")
    if shuffle is True:
        raise ValueError(
            f"shuffle=True permutes a whole source, and {name} is read as it comes. Say how far records move within a "
            "lane: shuffle=ShuffleWindow(records=n)"
        )
    if isinstance(shuffle, ShuffleWindow) and shuffle.records is None:
        raise ValueError(f"shuffle={shuffle} is for sources that are read in blocks; say ShuffleWindow(records=n)")
    if config.shard.count > 1:
        raise ValueError(
            f"{name} has no shards, for its lanes end when they end, so that hosts would have unequally many steps. "
            "Give each host lanes of its own: make=lambda lane, lanes: open_part(host * lanes + lane, hosts * lanes)"
        )
    if config.reading.retries:
        raise ValueError(f"retries={config.reading.retries}: an iterator of {name} cannot be asked for a record twice")
    if config.cache is not None:
        raise ValueError(f"Cache keeps records by number, and those of {name} are read as they come. Leave it out")
    window = shuffle.records if isinstance(shuffle, ShuffleWindow) else 1
    assert facts.lanes is not None and window is not None
    items = math.prod(stage.most for stage in config.host if isinstance(stage, FlatMap))
    return Lanes(facts.lanes, window, items)


def check_numbered(order: Order, what: str) -> None:
    """Steps have numbers of records that are known beforehand.

    Raises:
        ValueError: records come out of iterators.
    """
    if isinstance(order, LaneOrder):
        raise ValueError(f"{what} needs to know which steps there are, and records of iterators are read as they come")


def dump_cursors(cursors: Sequence[LaneCursor]) -> list[list[Any]]:
    """Where lanes stand, as plain JSON values.

    Raises:
        TypeError: an iterator's own state has something else in it; the message says what.
    """
    return [_dump(lane, cursor) for lane, cursor in enumerate(cursors)]


def _dump(lane: int, cursor: LaneCursor) -> list[Any]:
    state = None if cursor.state is None else loaded(cursor.state)
    if isinstance(cursor.state, bytes):
        raise TypeError(
            f"lane {lane}: its iterator's state cannot be part of a pipeline's, which has plain JSON values alone: "
            f"{not_plain(state)}. Give the iterator a state_dict of dicts, lists, texts and numbers, or none, so that "
            "records are counted"
        )
    return [cursor.records, cursor.place, cursor.item, cursor.ended, state]


def told(order: LaneOrder, epoch: int, value: Any) -> LaneOrder:
    """The order, told where a state says that its lanes stand.

    Raises:
        ValueError: it is no list of that.
    """
    lanes = order.lines.lanes
    if not isinstance(value, (list, tuple)) or len(value) != lanes:
        raise ValueError(f"a state's lanes must be a list of {lanes} cursors, found {value!r:.100}")
    cursors = tuple(_load(lane, one) for lane, one in enumerate(value))
    return order.tell(epoch, cursors, np.empty(0, np.int64))


def _load(lane: int, value: Any) -> LaneCursor:
    try:
        *counts, ended, state = value
        records, place, item = map(operator.index, counts)
        if not all(0 <= count <= _MOST for count in (records, place, item)) or ended not in (False, True):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(
            f"a state's lanes[{lane}] must be [records, place, item, ended, state], found {value!r:.100}"
        ) from None
    return LaneCursor(records, place, item, None if state is None else packed(state), bool(ended))
