"""What a worker has to have before it can work on a recipe, and what that costs it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

EVERYWHERE = sys.stdlib_module_names | {"__main__", "datarax_mp", "numpy", "cloudpickle"}  # no worker lacks these

# Bytes of pickle: below that, unpickling takes some 20 ms, and what it makes some 15 MB.
_LARGE = 2_000_000


@dataclass(frozen=True, slots=True)
class Need:
    """What loading a recipe takes.

    Attributes:
        recipe_id: what main calls it.
        modules: what has to be imported that no worker has as it is.
        large: whether its objects take so much time and memory that workers had better share them.
    """

    recipe_id: int
    modules: frozenset[str]
    large: bool

    @classmethod
    def of(cls, recipe_id: int, named: Iterable[str], size: int) -> Need:
        """That of a recipe whose pickle has so many bytes, and names these modules."""
        modules = frozenset(name for name in named if name.partition(".")[0] not in EVERYWHERE)
        return cls(recipe_id, modules, size > _LARGE)

    @property
    def light(self) -> bool:
        """Whether every worker loads it in a moment."""
        return not self.modules and not self.large
