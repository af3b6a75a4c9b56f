"""Which records an epoch has: what source, ``shuffle``, ``sampler`` and ``batch_by`` say together.

    source's own choice (a mixture, moving windows)  -+
    in order, shuffled, shuffled in windows          -+--> one of them --> batch_by, if given --> filters, if any
    the same by blocks, where the source has them    -+
    sampler                                          -+

What cannot be combined is an error here, when the pipeline is made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.foreign import is_of
from datarax_mp.order import BatchBy, Batches, Choice, Sampler, ShuffleWindow
from datarax_mp.order.blockwise import BLOCKS, Blockwise
from datarax_mp.order.expansion import Expansion
from datarax_mp.sources.facts import SourceFacts

Shuffle: TypeAlias = bool | ShuffleWindow | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the pipeline's arguments say of it.

    Attributes:
        shuffle: whether and how far records move; None is as the source says.
        sampler: which records, how often, or None.
        batch_by: which records come together, or None.
    """

    shuffle: Shuffle = None
    sampler: Sampler | None = None
    batch_by: BatchBy | None = None

    @classmethod
    def of(cls, shuffle: Any, sampler: Any, batch_by: Any) -> Wanted:
        """The arguments, checked.

        Raises:
            TypeError: an argument is of the wrong kind.
            ValueError: they contradict each other.
        """
        shuffle = _shuffle(shuffle)
        if sampler is not None and not isinstance(sampler, Sampler):
            raise TypeError(_no_sampler(sampler))
        if batch_by is not None and not isinstance(batch_by, BatchBy):
            raise TypeError(
                f"batch_by must be a LengthGroups or a TokenBudget, got {batch_by!r} of type {type(batch_by).__name__}"
            )
        if sampler is not None and shuffle:
            raise ValueError(f"shuffle={shuffle} and sampler both say in which order records come; give one of them")
        return cls(shuffle, sampler, batch_by)

    def choice(self, facts: SourceFacts, length: int, batches: Batches) -> Choice:
        """The choice among a source's records.

        Args:
            facts: what is known of the source.
            length: how many records it has.
            batches: what batches are like.

        Raises:
            ValueError: the source says itself which records an epoch has; or sampler or lengths are for another source.
        """
        if self.batch_by is not None and facts.shards > 1:
            raise ValueError(
                f"batch_by puts together records that follow one another, and the source serves every {facts.shards}th "
                "alone. Leave num_workers out of its config, and give the pipeline shard=ShardOptions(index, count)"
            )
        if self.batch_by is None:
            return self._ungrouped(facts, length, batches)
        if isinstance(self.shuffle, ShuffleWindow) and self.shuffle.hosts not in (None, 1):
            raise ValueError(
                f"{self.shuffle} takes equally many rows of each step from several hosts' blocks, and batch_by makes "
                "steps of its own; they cannot be combined. Leave hosts out"
            )
        choice = self._ungrouped(facts, length, replace(batches, shards=1))  # every host reads every block
        return self.batch_by.over(choice, length, batches)

    def among_items(self, facts: SourceFacts, expansion: Expansion, batches: Batches) -> Choice:
        """The choice among the items that stages make of a source's records; see ``check_items``."""
        if facts.blocks is not None:
            facts = replace(facts, blocks=np.append(0, expansion.ends)[facts.blocks])
        return self._ungrouped(facts, expansion.items, batches)

    def check_items(self, facts: SourceFacts) -> None:
        """Make sure that a source's records may become items, several of one.

        Raises:
            ValueError: something says which records an epoch has, or is by record.
        """
        if self.sampler is not None or self.batch_by is not None or facts.choose is not None:
            other = facts.name if facts.choose is not None else type(self.sampler or self.batch_by).__name__
            raise ValueError(
                f"{other} is about records, and with FlatMap an epoch has items, several of a record; they cannot be "
                "combined. Leave one of them out, or let the source have as many records as come out"
            )

    def _ungrouped(self, facts: SourceFacts, length: int, batches: Batches) -> Choice:
        if facts.choose is not None and (self.sampler is not None or isinstance(self.shuffle, ShuffleWindow)):
            other = type(self.sampler or self.shuffle).__name__
            raise ValueError(
                f"{facts.name} says itself which records an epoch has, and so does {other}; they cannot be combined. "
                "Give shuffle=True or False, which each of its sources follows"
            )
        if self.sampler is not None:
            return self.sampler.over(length)
        if facts.blocks is not None and (window := self._blocks(facts)) is not None:
            return _by_blocks(facts.blocks, window, batches)
        if not isinstance(self.shuffle, ShuffleWindow):
            return facts.choice(length, self.shuffle)
        if self.shuffle.blocks is not None:
            raise ValueError(
                f"shuffle={self.shuffle} is for sources that are read in blocks (BlockSource, ParquetSource, ...), and "
                "this one is not. Say how far records move: ShuffleWindow(records=n)"
            )
        return self.shuffle.over(length)

    def _blocks(self, facts: SourceFacts) -> ShuffleWindow | None:
        """The window in blocks that is wanted; None if it is one in records, or none."""
        if isinstance(self.shuffle, ShuffleWindow):
            return None if self.shuffle.blocks is None else self.shuffle
        return ShuffleWindow(blocks=BLOCKS) if (facts.shuffle if self.shuffle is None else self.shuffle) else None

    def why_a_seed(self, choice: Choice) -> str | None:
        """What of this needs a seed; None if nothing does."""
        if not choice.shuffled:
            return None
        if self.sampler is not None:
            return type(self.sampler).__name__
        if self.shuffle is not None and not isinstance(self.shuffle, bool):
            return "ShuffleWindow"
        return type(self.batch_by).__name__ if self.batch_by is not None and not self.shuffle else "shuffle=True"


def _by_blocks(ends: NDArray[np.int64], window: ShuffleWindow, batches: Batches) -> Blockwise:
    """The choice block by block.

    Raises:
        ValueError: the rows of a step, over all shards, cannot be had in equal parts of so many hosts.
    """
    rows = batches.rows * batches.shards
    hosts = batches.shards if window.hosts is None else window.hosts
    if rows % hosts:
        raise ValueError(
            f"ShuffleWindow(hosts={hosts}) takes equally many rows of each step from {hosts} hosts' blocks, and a step "
            f"has {rows} rows (batch_size times the number of shards). Choose a divisor of {rows}"
        )
    assert window.blocks is not None
    return Blockwise(ends, window.blocks, hosts, rows // hosts if hosts > 1 else 1)


def _shuffle(value: Any) -> Shuffle:
    """On, off or a window: the text ``"False"`` would be true, and 1000 is somebody's buffer size."""
    if value is None or isinstance(value, ShuffleWindow):
        return value
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise TypeError(
        "shuffle must be True or False: a permutation of the whole source, without a buffer; or "
        f"ShuffleWindow(records=n), which moves records less far; got {value!r} of type {type(value).__name__}"
    )


_TORCH = {
    "RandomSampler": "shuffle=True",
    "SequentialSampler": "shuffle=False",
    "WeightedRandomSampler": "sampler=WeightedSampler(weights)",
    "SubsetRandomSampler": "source=SubsetSource(data, indices), shuffle=True",
    "BatchSampler": "batch_size= and drop_last=",
    "DistributedSampler": "shard=, with drop_last=True or pad_last=True",
}


def _no_sampler(value: Any) -> str:
    said = f"sampler must be a WeightedSampler, a ClassBalancedSampler or an IndexSampler, got a {type(value).__name__}"
    ours = next((ours for name, ours in _TORCH.items() if is_of(value, "torch.utils.data", name)), None)
    if ours is not None:
        return f"{said}; here: {ours}"
    return f"{said}. IndexSampler(numbers) takes the records of an epoch as an array, or a function of the epoch"
