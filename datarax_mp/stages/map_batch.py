"""MapBatch: a function of a whole batch in host memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datarax_mp.stages.base import Rank, Stage


@dataclass(frozen=True, slots=True)
class MapBatch(Stage):
    """Apply a function to every stacked batch, in the worker, after all stages that take single records.

    Attributes:
        fn: ``dict of arrays (rows, ...) -> dict of arrays (rows, ...)``; ``rows`` must stay as it is. Fields that are
            no arrays (text, say) are lists of ``rows`` values, and may become arrays here: a batch is tokenised in one
            call.

    >>> import numpy as np
    >>> MapBatch(lambda batch: {"x": batch["x"] / 255.0}).fn({"x": np.ones((2, 3))})["x"].shape
    (2, 3)
    """

    rank = Rank.BATCH

    fn: Callable[[dict[str, Any]], dict[str, Any]]
