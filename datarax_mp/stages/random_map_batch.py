"""RandomMapBatch: a random function of a whole batch in host memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.stages.base import Rank, Stage
from datarax_mp.stages.random_map import generator_for


@dataclass(frozen=True, slots=True)
class RandomMapBatch(Stage):
    """Apply a random function to every stacked batch, in the worker, as a ``MapBatch`` does.

    The generator is made of (seed, epoch, the batch's record numbers, stage), so that what a batch draws depends on
    nothing else: not on the worker count or where a run was resumed.

    Attributes:
        fn: ``(dict of arrays (rows, ...), np.random.Generator) -> dict of arrays (rows, ...)``.

    >>> RandomMapBatch(lambda batch, rng: {"x": batch["x"] + rng.random()}).name
    'RandomMapBatch(<lambda>)'
    """

    rank = Rank.BATCH
    random = True

    fn: Callable[[dict[str, Any], np.random.Generator], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class BatchDraw:
    """Where the random stages of one batch get their generators from.

    Attributes:
        seed: the pipeline's.
        epoch: the epoch.
        numbers: the batch's record numbers, those of records that are skipped among them.
        uncounted: how many stages before them do not count for what they draw (see ``Stage.asks_again``).
    """

    seed: int
    epoch: int
    numbers: NDArray[np.int64]
    uncounted: int = 0

    def generator(self, stage: int) -> np.random.Generator:
        """The generator of the stage at a place."""
        digest = hashlib.blake2b(np.ascontiguousarray(self.numbers, "<i8").tobytes(), digest_size=8).digest()
        return generator_for(self.seed, self.epoch, int.from_bytes(digest, "little"), stage - self.uncounted)
