"""MapElement: a function of one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datarax_mp.stages.base import Rank, Stage


@dataclass(frozen=True, slots=True)
class MapElement(Stage):
    """Apply a function to every record, in the worker. A plain callable among the stages means the same.

    Attributes:
        fn: ``record -> record``, dicts of NumPy values. The dict may be changed; what lies in it may not: its arrays
            are read-only views, or the very ones that a source of your own keeps.

    >>> MapElement(lambda record: {"x": record["x"] * 2}).fn({"x": 3})
    {'x': 6}
    """

    rank = Rank.RECORD

    fn: Callable[[Any], Any]
