"""A part of the run once more, disturbed."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from datarax_mp.commands.drilling.disturbances import Disturbance
from datarax_mp.commands.drilling.reference import Reference, digest

_LEAST = 8  # batches behind a disturbance, where there are so many


@dataclass(frozen=True, slots=True)
class Round:
    """One round.

    Attributes:
        begin: the first batch of it.
        at: the batch behind which something is done.
        stop: the batch before which it ends, if the iteration does not end there.
    """

    begin: int
    at: int
    stop: int

    @classmethod
    def of(cls, chance: random.Random, length: int) -> Round:
        """One at random.

        Args:
            chance: what it is drawn from.
            length: how many batches there are.

        >>> one = Round.of(random.Random(0), 100)
        >>> 0 <= one.begin <= one.at < one.stop <= 100
        True
        """
        begin = chance.randrange(length)
        at = chance.randrange(begin, max(begin + 1, length - _LEAST))
        return cls(begin, at, chance.randrange(min(at + _LEAST, length), length + 1))

    def run(
        self, pipeline: Any, reference: Reference, disturb: Disturbance, chance: random.Random
    ) -> tuple[str, str | None]:
        """Take the stream up, disturb it, and compare.

        Args:
            pipeline: the pipeline.
            reference: what should come.
            disturb: what is done.
            chance: what the choice of a process is drawn from.

        Returns:
            What was done, and the first difference, or None.
        """
        pipeline.set_state(json.loads(json.dumps(reference.states[self.begin])))
        iterator = iter(pipeline)
        told, undo, kept, step = "nothing was done", None, None, self.begin
        try:
            for step, batch in enumerate(iterator, self.begin):
                if (difference := reference.difference(step, digest(batch))) is not None:
                    return told, difference
                if step == self.at:
                    kept, (told, undo) = batch, disturb(chance)
                if step + 1 >= self.stop and not self._goes_to_the_end(reference):
                    break
        except Exception as error:  # the user's, or that of workers: it did not come without the disturbance
            return told, f"behind batch {step}: {type(error).__name__}: {error}"
        finally:
            if undo is not None:
                undo()
            iterator.close()
        if step + 1 < self.stop:
            return told, f"behind batch {step} the stream has ended, {len(reference.seen) - step - 1} before its end"
        if kept is not None and (changed := reference.difference(self.at, digest(kept))) is not None:
            return told, f"{changed}, which was kept, and was right when it came"
        return told, None

    def _goes_to_the_end(self, reference: Reference) -> bool:
        return reference.whole and self.stop == len(reference.seen)
