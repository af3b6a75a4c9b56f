"""What a pipeline knows of a source beside its records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from datarax_mp.order import Choice, in_order_or_shuffled

Choose: TypeAlias = Callable[[bool | None], Choice]


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
    """

    name: str
    shuffle: bool = False
    shard_id: int = 0
    shards: int = 1
    rngs: Any = None
    track_name: str | None = None
    choose: Choose | None = None

    @classmethod
    def of(cls, source: Any) -> SourceFacts:
        """The facts about a source."""
        return source.facts() if isinstance(source, SaysFacts) else cls(type(source).__name__)

    def choice(self, length: int, shuffle: bool | None) -> Choice:
        """Which records an epoch has.

        Args:
            length: how many there are.
            shuffle: whether they are shuffled; of None it is as the source says.
        """
        if self.choose is not None:
            return self.choose(shuffle)
        return in_order_or_shuffled(length, shuffle=self.shuffle if shuffle is None else shuffle)


class SaysFacts(ABC):
    """A source that says something about itself."""

    @abstractmethod
    def facts(self) -> SourceFacts:
        """The facts, as they are now."""
