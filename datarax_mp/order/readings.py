"""Which blocks a host needs for its steps, and for how long: what the shelf is planned by.

A window's blocks are needed from its first record's step to its last record's; a step at the border of two windows
needs those of both:

    steps        0 1 2 3 4 5 6 7
    windows      0-----3
                       3-----6
                             6-7
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from datarax_mp.order.blockwise import Blockwise, Line
from datarax_mp.order.choice import Among, Numbers
from datarax_mp.order.reach import Leg
from datarax_mp.order.steps import Order

_IN_ORDER = 8  # windows of one block, so that several workers read


class Needed(NamedTuple):
    """Blocks that some consecutive steps of an epoch need, each of them or another.

    Attributes:
        epoch: the epoch.
        first: the first of these steps.
        last: the last one.
        blocks: int64, the blocks' numbers.
    """

    epoch: int
    first: int
    last: int
    blocks: Numbers


def goes_by_blocks(order: Order) -> bool:
    """Whether an order takes records block by block."""
    return _choice(order) is not None


def windows_at_once(order: Order) -> int:
    """How many windows are there at a time: of each host's part the one that is worked on, and the next one."""
    choice = _choice(order)
    assert choice is not None
    if not choice.shuffled:
        return _IN_ORDER
    return 2 if choice.hosts == 1 else 2 * len(_hosts(order, choice))


def needed(order: Order, leg: Leg) -> Iterator[Needed]:
    """The blocks that this shard needs for some steps of an epoch, in the order in which they begin to be needed."""
    choice, epoch = _choice(order), leg.epoch.number
    assert choice is not None
    line = choice.line(order.seed, epoch)
    begins, ends, first, last = map(np.concatenate, zip(*_windows(order, choice, line, epoch), strict=True))
    there = np.flatnonzero((last >= leg.start) & (first < leg.stop))
    for window in there[np.argsort(first[there], kind="stable")].tolist():
        blocks = line.blocks_of(int(begins[window]), int(ends[window]))
        yield Needed(epoch, int(first[window]), int(last[window]), blocks)


def dealt_as(order: Order, hosts: Sequence[int]) -> Order:
    """An order whose blocks are dealt to hosts as those of another one are.

    Args:
        order: the order; one that does not deal out blocks stays as it is.
        hosts: as the other one's facts say, ``[hosts, rows]``, or nothing for one host.

    Raises:
        ValueError: a step has another number of rows here.
    """
    if (choice := _choice(order)) is None or not choice.shuffled:
        return order
    count, rows = hosts or (1, 1)
    if count > 1 and count * rows != order.global_batch:
        raise ValueError(
            f"the state's blocks are dealt to {count} hosts, {rows} rows of each step to each; a step has "
            f"{order.global_batch} rows here (batch_size times the number of shards). Make it {count * rows}"
        )
    dealt = choice.dealt(count, rows)
    return replace(order, choice=replace(order.choice, choice=dealt) if isinstance(order.choice, Among) else dealt)


def _choice(order: Order) -> Blockwise | None:
    choice = order.choice.choice if isinstance(order.choice, Among) else order.choice
    return choice if isinstance(choice, Blockwise) and order.even and order.stride == 1 else None


def _hosts(order: Order, choice: Blockwise) -> range:
    """Those whose parts this shard's rows are of."""
    first = order.shard_index * order.batch_size
    return range(first // choice.rows, (first + order.batch_size - 1) // choice.rows + 1)


def _windows(order: Order, choice: Blockwise, line: Line, epoch: int) -> Iterator[tuple[Numbers, ...]]:
    """Of this shard's windows where in the line they begin and end, and their first and last steps."""
    begins, ends = line.windows[:-1], line.windows[1:]
    if choice.hosts == 1:
        start, size = order.first(epoch), order.global_batch
        yield begins, ends, (begins - start) // size, (ends - 1 - start) // size
        return
    rows, whole = choice.rows, order.places // choice.hosts // choice.rows
    mine = range(order.shard_index * order.batch_size, (order.shard_index + 1) * order.batch_size)
    rest = np.asarray(mine) + whole * order.global_batch  # positions of the last step
    rest = choice.places(rest[rest < order.places])
    at_last = np.unique(np.searchsorted(line.windows, rest, "right") - 1)
    for host in _hosts(order, choice):
        begin, end = line.parts[host], line.parts[host] + whole * rows  # what is behind that comes with the last step
        some = np.flatnonzero((begins >= begin) & (begins < end))
        last = (np.minimum(ends[some], end) - 1 - begin) // rows
        last[np.isin(some, at_last)] = whole
        at_last = np.setdiff1d(at_last, some)
        yield begins[some], ends[some], (begins[some] - begin) // rows, last
    yield begins[at_last], ends[at_last], np.full(len(at_last), whole), np.full(len(at_last), whole)
