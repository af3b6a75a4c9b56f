"""What ``combine`` makes of stages: functions of a record or a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datarax_mp.stages.base import Stage


def name_of(kind: str, members: Sequence[Stage]) -> str:
    """How states and messages call a combination."""
    shown = members[:1] if kind == "sometimes" else members  # the other one changes nothing
    return f"{kind}({', '.join(member.name for member in shown)})"


@dataclass(frozen=True, slots=True)
class Chained:
    """Stages that draw nothing, one behind the other, as a function.

    Attributes:
        members: the stages.
    """

    members: tuple[Any, ...]

    @property
    def called(self) -> str:
        """How states and messages call it."""
        return name_of("chain", self.members)

    def __call__(self, data: Any) -> Any:
        """Apply them in turn."""
        for member in self.members:
            data = member.fn(data)
        return data


@dataclass(frozen=True, slots=True)
class Combined:
    """Stages of which some are applied, as a function that draws from a generator.

    Attributes:
        kind: which combination it is.
        members: the stages.
        shares: how often each is drawn; none is all of them in turn.
    """

    kind: str
    members: tuple[Any, ...]
    shares: tuple[float, ...]

    @property
    def called(self) -> str:
        """How states and messages call it."""
        return name_of(self.kind, self.members)

    def __call__(self, data: Any, rng: np.random.Generator) -> Any:
        """Apply those that are drawn."""
        members = self.members
        if self.shares:
            drawn, place = rng.random(), 0
            while place + 1 < len(members) and drawn >= self.shares[place]:
                drawn -= self.shares[place]
                place += 1
            members = members[place : place + 1]
        for member in members:
            data = member.fn(data, rng) if member.random else member.fn(data)
        return data
