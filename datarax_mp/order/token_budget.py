"""Batches of as many records as fit into a number of tokens, of few shapes.

    length up to     64      128     256        bounds: what a record is padded to
    rows             1024    512     256        as many as make 65,536 tokens
    batches          1200    900     310        fixed by how many records have such a length

The batches of all classes take turns, evenly, until each has had its own (as a mixture whose sources end); which
records of its class are in a batch is a permutation, anew for every epoch. So there is one table of the records by
class and one of the steps, made once and shared by all workers, and nothing to work out for an epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datarax_mp.core.integers import integer
from datarax_mp.order.ahead import ahead
from datarax_mp.order.batch_by import BatchBy, Batches
from datarax_mp.order.blockwise import Blockwise
from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.hashing import GOLDEN, mix64, part_seed
from datarax_mp.order.newest import Newest
from datarax_mp.order.permutation import permute_each
from datarax_mp.order.sampler import check_count, fingerprint
from datarax_mp.order.sequential import Sequential
from datarax_mp.order.shuffled import Shuffled
from datarax_mp.order.spans import turns_of, until_last

_CLASSES = 6  # by default: a jitted step is compiled once for each


class TokenBudget(BatchBy):
    """Batches of a number of tokens: ``Pipeline(batch_by=TokenBudget(65_536, lengths=lengths))``.

    Records are divided into classes by length. A batch has records of one class, as many as make no more than so many
    tokens when each is as long as the longest of its class may be: ``Pad(field, bounds[-1], to=bounds)`` among the
    stages makes them so, and then there is one shape for each class. An epoch has every record once; of each class the
    last batch may have fewer rows (``drop_last=True`` leaves it out, ``pad_last=True`` fills it up). No batch has more
    rows than the pipeline's ``batch_size``; memory is taken for so many rows of the longest length.

    Not with a sampler, a ``ShuffleWindow``, a ``MixSource``, moving windows or ``FlatMap``. Of a source that is read in
    blocks ``shuffle=True`` is a ``ShuffleWindow``; in its own order it goes, and shuffled as
    ``SubsetSource(source, range(len(source)))``, where each process reads the blocks that it needs.

    Args:
        tokens: the most tokens of a batch of one shard, padding counted.
        lengths: int ``(records,)``, a length for each: ``datarax_mp.scan(source, len, num_workers=...)`` say.
        bounds: the longest length of each class, ascending; None is the longest of all, half of it, and so on, six in
            all.

    Attributes:
        bounds: the longest length of each class, as a tuple.

    Raises:
        TypeError: lengths are no integers.
        ValueError: a record has more tokens than a batch, or more than the last bound.
    """

    def __init__(self, tokens: int, lengths: ArrayLike, *, bounds: Sequence[int] | None = None) -> None:
        self.tokens = integer("tokens", tokens, least=1)
        self.lengths = _checked(lengths)
        longest = max(1, int(self.lengths.max()))
        if bounds is None:
            bounds = sorted({max(1, -(-longest // 2**half)) for half in range(_CLASSES)})
        self.bounds = tuple(integer("a bound", bound, least=1) for bound in bounds)
        if list(self.bounds) != sorted(set(self.bounds)) or not self.bounds:
            raise ValueError(f"bounds must ascend, got {list(self.bounds)}")
        if longest > self.bounds[-1]:
            raise ValueError(f"the longest record has {longest} tokens, and the last of bounds is {self.bounds[-1]}")
        if self.bounds[-1] > self.tokens:
            raise ValueError(
                f"records of up to {self.bounds[-1]} tokens do not fit into a batch of {self.tokens}; give more tokens"
            )

    def over(self, choice: Choice, records: int, batches: Batches) -> Choice:
        """See ``BatchBy``; the choice is every record once, shuffled or not."""
        check_count("lengths", len(self.lengths), records)
        if not _is_every_record_once(choice):
            raise ValueError(
                "TokenBudget takes every record once, shuffled or not, and cannot be combined with a sampler, a "
                "ShuffleWindow, a MixSource or moving windows. Of a source that is read in blocks, shuffle=True is a "
                "ShuffleWindow: give shuffle=False, or SubsetSource(source, range(len(source))) to have it shuffled"
            )
        rows = [min(batches.rows, self.tokens // bound) for bound in self.bounds]
        classes = np.searchsorted(self.bounds, self.lengths)
        return Budgeted.of(
            classes, np.array(rows), batches.shards, shuffled=choice.shuffled, drop_last=batches.drop_last
        )


@dataclass(frozen=True, slots=True, eq=False)
class StepTable:
    """How many rows each step has.

    Attributes:
        begins: int64 ``(steps + 1,)``, the place at which each step begins, and where the last one ends.
        rows: int32 ``(steps,)``, the rows of a whole step, for each shard.
    """

    begins: Numbers
    rows: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Budgeted:
    """Every record once, class by class in batches.

    Attributes:
        members: int64 ``(records,)``, the records, class by class.
        counts: int64 ``(classes,)``, how many each class has.
        rows: int64 ``(classes,)``, the rows of a whole batch of one shard.
        table: how many rows each step has.
        classes: int32 ``(steps,)``, the class of each step.
        numbers: int32 ``(steps,)``, which of its class's batches it is.
        shuffled: whether the records of a class are permuted.
        shards: how many shards a step is for.
        drop_last: whether batches that are not full are left out.
    """

    members: Numbers = field(repr=False)
    counts: Numbers
    rows: Numbers
    table: StepTable = field(repr=False)
    classes: NDArray[np.int32] = field(repr=False)
    numbers: NDArray[np.int32] = field(repr=False)
    shuffled: bool
    shards: int
    drop_last: bool
    _newest: Newest[Numbers] = field(default_factory=lambda: Newest(2), repr=False)

    @classmethod
    def of(
        cls, class_of: NDArray[np.integer], rows: Numbers, shards: int, *, shuffled: bool, drop_last: bool
    ) -> Budgeted:
        """The choice, for records of these classes."""
        sizes, counts = rows * shards, np.bincount(class_of, minlength=len(rows))
        batches = counts // sizes if drop_last else -(-counts // sizes)
        classes, numbers = _taking_turns(batches)
        whole = sizes[classes]
        there = np.minimum(whole, counts[classes] - numbers * whole)
        begins = np.concatenate([[0], np.cumsum(there)])
        table = StepTable(begins, rows[classes].astype(np.int32))
        members = np.argsort(class_of, kind="stable")
        return cls(members, counts, rows, table, classes, numbers, shuffled, shards, drop_last)

    @property
    def length(self) -> int:
        """See ``Choice``."""
        return int(self.table.begins[-1])

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return ahead(self._newest, seed, epoch, positions, self.length, self._records)

    def _records(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        steps = np.searchsorted(self.table.begins, positions, "right") - 1
        classes = self.classes[steps]
        places = positions - self.table.begins[steps] + self.numbers[steps] * (self.rows * self.shards)[classes]
        if self.shuffled:
            seeds = np.array([mix64(part_seed(seed, part) + GOLDEN) for part in range(len(self.counts))], np.uint64)
            places = permute_each(places, self.counts[classes], seeds[classes], np.full(len(places), epoch))
        return self.members[(np.cumsum(self.counts) - self.counts)[classes] + places]

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return positions

    def narrowed(self, numbers: Numbers) -> Budgeted:
        """See ``Choice``; the steps, too, are others."""
        class_of = np.empty(len(self.members), np.int64)
        class_of[self.members] = np.repeat(np.arange(len(self.counts)), self.counts)
        return Budgeted.of(class_of[numbers], self.rows, self.shards, shuffled=self.shuffled, drop_last=self.drop_last)

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        which = f"TokenBudget, rows {self.rows.tolist()}, lengths {fingerprint(self.members, self.counts)}"
        return {"length": self.length, "shuffle": self.shuffled, "choice": which}


def _is_every_record_once(choice: Choice) -> bool:
    """Whether a choice is all records in the source's order, or permuted as a whole."""
    return isinstance(choice, (Sequential, Shuffled)) or (isinstance(choice, Blockwise) and not choice.shuffled)


def _taking_turns(batches: Numbers) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The class of each step, and which of its batches: in proportion, until every class has had all its batches."""
    there = np.flatnonzero(batches)
    if not len(there):
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    spans = until_last(((0, tuple(Fraction(int(count)) for count in batches[there])),), batches[there].tolist())
    owners, counts = turns_of(spans, np.arange(int(batches.sum())))
    return there[owners].astype(np.int32), counts.astype(np.int32)


def _checked(lengths: ArrayLike) -> NDArray[np.integer]:
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, found dtype {array.dtype}")
    if array.ndim != 1 or not len(array):
        raise ValueError(f"lengths must have one axis, one for each record; found shape {array.shape}")
    if array.min() < 0:
        raise ValueError(f"lengths must not be negative, found {array.min()}")
    return array
