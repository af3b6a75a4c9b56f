"""What a pipeline knows of a source beside its records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datarax_mp.order import Choice, Sequential, Shuffled
from datarax_mp.order.blockwise import Blockwise

Choose: TypeAlias = Callable[[bool | None], Choice]

_OURS = __name__.partition(".")[0]


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a source says about itself, resolved once, when a pipeline is made.

    Only sources of this package say anything. Attributes of other objects that happen to have such names (``config``,
    ``rngs``, ``name``) are their own affair.

    Attributes:
        name: how states and messages call it.
        shuffle: whether it wants a new order every epoch.
        shard_id: which part of it is served.
        shards: of how many.
        rngs: where seeds are drawn from, or None.
        track_name: the name that metadata are to carry, or None.
        choose: where the source itself says which records an epoch has: makes the choice, shuffled or not, or, of None,
            as its own sources say.
        user_code: whether reading a record runs code that is not of this package.
        blocks: where records are read in blocks, of each the number of the record behind its last one, int64.
        lanes: where records come out of iterators, how many of these there are; such a source has no length.
    """

    name: str
    shuffle: bool = False
    shard_id: int = 0
    shards: int = 1
    rngs: Any = None
    track_name: str | None = None
    choose: Choose | None = None
    user_code: bool = True
    blocks: NDArray[np.int64] | None = field(default=None, compare=False, repr=False)
    lanes: int | None = None

    @classmethod
    def of(cls, source: Any) -> SourceFacts:
        """The facts about a source."""
        if not isinstance(source, SaysFacts):
            return cls(type(source).__name__)
        facts = source.facts()
        # What a class of the user's own derives from one of ours, it may have changed.
        return facts if type(source).__module__.partition(".")[0] == _OURS else replace(facts, user_code=True)

    @classmethod
    def of_several(cls, name: str, sources: Iterable[Any], choose: Choose | None = None) -> SourceFacts:
        """Those of a source that reads others: it shuffles if one of them does.

        Args:
            name: how states and messages call it.
            sources: the others.
            choose: see above.
        """
        parts = [cls.of(source) for source in sources]
        return cls(
            name,
            any(part.shuffle for part in parts),
            rngs=next((part.rngs for part in parts if part.rngs is not None), None),
            choose=choose,
            user_code=any(part.user_code for part in parts),
        )

    def in_order(self, length: int) -> Choice:
        """Every record once, as the source has them."""
        return Sequential(length) if self.blocks is None else Blockwise(self.blocks, blocks=0)

    def choice(self, length: int, shuffle: bool | None) -> Choice:
        """Which records an epoch has.

        Args:
            length: how many there are.
            shuffle: whether they are shuffled; of None it is as the source says.
        """
        if self.choose is not None:
            return self.choose(shuffle)
        return Shuffled(length) if (self.shuffle if shuffle is None else shuffle) else self.in_order(length)


class SaysFacts(ABC):
    """A source that says something about itself."""

    @abstractmethod
    def facts(self) -> SourceFacts:
        """The facts, as they are now."""

    def data_files(self) -> Iterable[str]:
        """The files that its records are read from, as far as it knows them: its ``files``, where it has such."""
        files = getattr(self, "files", ())
        return files if isinstance(files, list) else ()
