"""Records that are every so many-th, from another one on in every epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from datarax_mp.order.choice import Choice, Numbers
from datarax_mp.order.hashing import GOLDEN, key_of, mix64


@dataclass(frozen=True, slots=True)
class Stepping:
    """One record in ``stride``: what another choice says, times ``stride``, plus an offset of the epoch's own.

    Attributes:
        choice: chooses among as many as there are strides.
        stride: from one record to the next one.
    """

    choice: Choice
    stride: int

    @property
    def length(self) -> int:
        """See ``Choice``."""
        return self.choice.length

    @property
    def shuffled(self) -> bool:
        """See ``Choice``: the offset depends on the seed."""
        return True

    def at(self, seed: int, epoch: int, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        offset = mix64(key_of(seed, epoch) ^ GOLDEN) % self.stride
        return self.choice.at(seed, epoch, positions) * self.stride + offset

    def examples(self, positions: Numbers) -> Numbers:
        """See ``Choice``."""
        return self.choice.examples(positions) * self.stride

    def narrowed(self, numbers: Numbers) -> Choice:
        """See ``Choice``.

        Raises:
            ValueError: always; in each epoch filters would leave another number of records.
        """
        raise ValueError(
            "windows that begin elsewhere in every epoch cannot be combined with Filter: epochs would differ in length"
        )

    def facts(self) -> dict[str, Any]:
        """See ``Choice``."""
        facts = self.choice.facts()
        beside = facts.get("choice", "every record")
        return {**facts, "choice": f"{beside}, each {self.stride}th from another one on in every epoch"}
