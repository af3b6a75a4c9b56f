"""A pipeline's position as plain JSON values.

    {"version": 2, "seed": 123, "epoch": 2, "start": 0, "step": 17, "fingerprint": {"length": 50000, ...}}

``step`` counts the batches that the *user* has received in ``epoch``, never what was read ahead. ``start`` is the
place in the epoch at which those steps begin; it is 0 unless the epoch was entered by an elastic resume. The worker
count, the prefetch depth, the output, and which of the shards it was are no part of a state: they do not change the
stream, and one state serves all hosts. ``left_out`` is there only if ``Pipeline.skip`` has left steps out, of this
epoch or of a later one: ranges ``[epoch, first step, the step after the last]``. ``lanes`` is there only where records
come out of iterators: where each of these stands, ``[records, place, item, ended, state]``, see ``order.lanes``.

A step with its batch size and number of shards is a number of records that have been used up; an elastic resume takes
that number and begins there, whatever its own batch size and number of shards.

What may be different where a state is set:

    num_workers, prefetch_size, memory_budget, timeout,
    restart_workers                                          the same batches
    output, device, sharding, which host it is               the same batches, in another place
    pad_last, on_error                                       the same batches, but for padding and skipped records
    batch_size, enforce_batch, drop_last, number of hosts    ValueError; elastic: the same records in the same order,
                                                             blocks dealt to as many hosts as when the stream began
    seed                                                     ValueError; elastic: the state's
    length of the source                                     ValueError; elastic and unshuffled: it may have grown
    shuffle, sampler, batch_by, the weights of a mixture,
    the stages' names, the source's name or class,
    which part of it a MemorySource serves                   ValueError

The records themselves and what is inside a stage are not looked at: they may change, and nobody notices.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from datarax_mp.order import Order, Sequential
from datarax_mp.order.lanes import LaneOrder
from datarax_mp.order.left_out import LeftOut
from datarax_mp.order.reach import Reach
from datarax_mp.order.readings import dealt_as
from datarax_mp.pipeline.lanes import dump_cursors, told

VERSION = 2

# What may differ in an elastic resume: how records are grouped, but neither which there are nor what is done to them.
_GROUPING = ("batch_size", "shards", "drop_last")

# Epochs, steps and records are counted in 64 bits, with room for sums of them; a seed has 64 bits of its own.
_MOST = (1 << 62) - 1
_MOST_SEED = (1 << 64) - 1

_SHOWN = 100  # letters of a wrong value


class Position(NamedTuple):
    """Where the user is: an immutable value, so that one thread can read it while another moves on.

    Attributes:
        order: which records make a step.
        epoch: the epoch, from 0.
        step: batches received in it.
    """

    order: Order
    epoch: int
    step: int

    def behind(self, reach: Reach) -> Position:
        """Where a stream ends that begins here; of one without end, the next epoch."""
        end = reach.end(self.epoch)
        return Position(self.order, self.epoch + 1 if end is None else end, 0)


class Cursor:
    """A position that moves on, by being replaced as a whole.

    Attributes:
        at: the position.
    """

    __slots__ = ("at",)

    def __init__(self, at: Position) -> None:
        self.at = at


def fingerprint(order: Order, source: str, stages: Sequence[str]) -> dict[str, Any]:
    """What must be alike for a position to mean the same records."""
    return {
        "source": source,
        **order.choice.facts(),
        "source_shard": [order.offset, order.stride],
        "batch_size": order.batch_size,
        "shards": order.shard_count,
        "drop_last": order.drop_last,
        "stages": list(stages),
    }


def dump(position: Position, print_: Mapping[str, Any], left_out: LeftOut) -> dict[str, Any]:
    """The state as a new dict of plain JSON values."""
    order, epoch, step = position
    state = {
        "version": VERSION,
        "seed": order.seed,
        "epoch": epoch,
        "start": order.first(epoch),
        "step": step,
        "fingerprint": {name: list(value) if isinstance(value, list) else value for name, value in print_.items()},
    }
    if isinstance(order, LaneOrder):
        state["lanes"] = dump_cursors(order.cursors(epoch))
    if left := left_out.since(epoch):
        state["left_out"] = left.as_json()
    return state


def load(state: Any, print_: Mapping[str, Any], order: Order, *, elastic: bool) -> tuple[Position, LeftOut]:
    """Read a state.

    Args:
        state: what ``dump`` made.
        print_: the fingerprint of the pipeline that is to go on.
        order: its order.
        elastic: whether it may group records differently, and takes over the state's seed.

    Raises:
        TypeError: it is no state.
        ValueError: it belongs to a pipeline that differs; the message names what differs, with both values.
    """
    if not isinstance(state, Mapping) or not isinstance(state.get("fingerprint"), Mapping):
        raise TypeError(f"expected a state made by get_state(), found {type(state).__name__}")
    if _int_or_none(version := state.get("version")) != VERSION:
        raise ValueError(f"the state is of version {_brief(version)}; this release reads version {VERSION}")
    theirs = {name: _like(name, value, print_.get(name)) for name, value in state["fingerprint"].items()}
    hosts = _hosts(theirs)
    if elastic:  # blocks stay dealt as they are, whoever reads them
        order = dealt_as(order, hosts)
        print_ = {**print_, "hosts": hosts} if hosts else {name: print_[name] for name in print_ if name != "hosts"}
    seed = _number("seed", state.get("seed"), most=_MOST_SEED)
    epoch, start, step = (_number(name, state.get(name)) for name in ("epoch", "start", "step"))
    _check_alike({**theirs, "seed": seed}, {**print_, "seed": order.seed}, elastic=elastic)
    order = dataclasses.replace(order, seed=seed, start=0, start_epoch=0)
    if not order.even and (start or any(theirs[name] != print_[name] for name in _GROUPING)):
        raise ValueError(
            "batches of a number of tokens, or of lanes, go on only with the batch_size, number of shards and "
            "drop_last that they began with: others would have other records"
        )
    left_out = LeftOut.of_json(state.get("left_out", []))
    if any(theirs[name] != print_[name] for name in (*_GROUPING, "length")):
        if left_out:
            raise ValueError(
                f"the state leaves out steps {left_out.as_json()} ([epoch, first, stop]), which have other records in "
                "batches of another size: take left_out out of it, and call skip() with steps as they are now"
            )
        start, step = _place(theirs, order, epoch, start, step), 0
    order, step = _entered(order, epoch, start, step)
    _check_step(step, order, epoch)
    if isinstance(order, LaneOrder):
        order = told(order, epoch, state.get("lanes"))
    return Position(order, epoch, step), left_out


def _entered(order: Order, epoch: int, start: int, step: int) -> tuple[Order, int]:
    """The order where an epoch's steps begin at a record, and which of them it is then."""
    if not 0 <= start <= order.places:
        raise ValueError(f"record {start} of epoch {epoch} does not exist: an epoch has {order.places} records")
    if step == 0 and start % order.global_batch == 0:  # the boundary of a step of ours
        return order, start // order.global_batch
    return (dataclasses.replace(order, start=start, start_epoch=epoch) if start else order), step


def _hosts(theirs: Mapping[str, Any]) -> list[int]:
    """To how many hosts blocks are dealt, and how many rows of a step each has; nothing where it is one."""
    hosts = theirs.get("hosts", [])
    if not isinstance(hosts, (list, tuple)) or len(hosts) not in (0, 2):
        raise ValueError(f"a state's hosts must be a list of two ints, found {_brief(hosts)}")
    return [_number("hosts", number, least=1) for number in hosts]


def _place(theirs: Mapping[str, Any], order: Order, epoch: int, start: int, step: int) -> int:
    """How many records were used up where the state was taken, in batches of another size or in a shorter source."""
    places = len(range(order.offset, theirs["length"], order.stride))
    if start > places:
        raise ValueError(f"record {start} of epoch {epoch} does not exist: by its state, an epoch has {places} records")
    before = dataclasses.replace(
        order,
        choice=Sequential(theirs["length"]),  # how many they are is all that counts
        batch_size=theirs["batch_size"],
        shard_count=theirs["shards"],
        shard_index=0,
        drop_last=theirs["drop_last"],
        start=start,
        start_epoch=epoch,
    )
    _check_step(step, before, epoch)
    return before.place(epoch, step)


def _check_step(step: int, order: Order, epoch: int) -> None:
    if step > order.steps(epoch):
        raise ValueError(f"step {step} of epoch {epoch} does not exist: the epoch has {order.steps(epoch)} steps")


def _number(name: str, value: Any, *, least: int = 0, most: int = _MOST) -> int:
    """A number of a state as a plain int; what went through NumPy or a checkpoint library comes back as one of its."""
    number = _int_or_none(value)
    if number is None or not least <= number <= most:
        raise ValueError(
            f"a state's {name} must be an int of at least {least} and at most {most}, found {_brief(value)}"
        )
    return number


def _int_or_none(value: Any) -> int | None:
    try:
        return None if isinstance(value, (bool, np.bool_)) else operator.index(value)
    except TypeError:
        return None


def _like(name: str, value: Any, ours: Any) -> Any:
    """A part of a state's fingerprint, as a plain value of the kind that this pipeline's own is of."""
    if isinstance(ours, bool):
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"a state's {name} must be a bool, found {_brief(value)}")
        return bool(value)
    if isinstance(ours, int):
        return _number(name, value, least=int(name in ("batch_size", "shards")))
    if isinstance(ours, str):
        if not isinstance(value, str):
            raise ValueError(f"a state's {name} must be a string, found {_brief(value)}")
        return str(value)
    if isinstance(ours, list):
        if not isinstance(value, (list, tuple, np.ndarray)) or (isinstance(value, np.ndarray) and value.ndim != 1):
            raise ValueError(f"a state's {name} must be a list, found {_brief(value)}")
        kind = ours[0] if ours else ""
        return [_like(f"{name}[{place}]", item, kind) for place, item in enumerate(value)]
    return value  # this pipeline has nothing of the name, which is said below


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes out no int of more than some thousand digits
        text = "a value too long to be shown"
    return f"{text if len(text) <= _SHOWN else text[:_SHOWN] + '...'} of type {type(value).__name__}"


def _check_alike(theirs: Mapping[str, Any], ours: Mapping[str, Any], *, elastic: bool) -> None:
    may_differ: tuple[str, ...] = (*_GROUPING, "seed") if elastic else ()
    if elastic and not ours["shuffle"] and "choice" not in ours:
        may_differ += ("length",)  # records in their own order: a longer source goes on behind the same ones
    names = [name for name in {**ours, **theirs} if name not in ours or theirs.get(name) != ours[name]]
    if wrong := [name for name in names if name not in may_differ or name not in theirs]:
        differing = "; ".join(
            f"{name}: the state has {theirs.get(name)!r}, this pipeline has {ours.get(name)!r}" for name in wrong
        )
        hint = ""
        if not elastic and set(wrong) <= {*_GROUPING, "seed"}:
            hint = "; set_state(state, elastic=True) goes on from the same record, with the state's seed"
        raise ValueError(f"the state belongs to another pipeline ({differing}){hint}")
