"""The stages for single records at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from datarax_mp.core.strays import claim
from datarax_mp.recipe import recorder
from datarax_mp.recipe.recorder import PHASE, RECORD, STAGE, Phase
from datarax_mp.stages.host import Generators, HostStage, MapElement, RandomMapElement, stage_name


class RecordStages:
    """Those among a program's host stages; they come first.

    Args:
        stages: all host stages.
        seed: the order's seed.
    """

    def __init__(self, stages: Sequence[HostStage], seed: int) -> None:
        self._stages = [stage for stage in stages if isinstance(stage, (MapElement, RandomMapElement))]
        self._seed = seed

    def __len__(self) -> int:
        return len(self._stages)

    def generators(self, epoch: int) -> dict[int, Generators]:
        """Those of the random stages, by the stage's place."""
        places = [place for place, stage in enumerate(self._stages) if isinstance(stage, RandomMapElement)]
        return {place: Generators(self._seed, epoch, place) for place in places}

    def apply(self, number: int, record: Any, generators: dict[int, Generators]) -> Any:
        """What they make of a record.

        Raises:
            Exception: what a stage raised, with a note that names it and the record.
        """
        at = recorder.here
        at[RECORD] = number
        for place, stage in enumerate(self._stages):
            at[PHASE], at[STAGE] = Phase.STAGE, place
            alone = isinstance(stage, MapElement)
            try:
                # The generator is never bound to a name here, so that the next record may reuse it.
                record = stage.fn(record) if alone else stage.fn(record, generators[place].of(number))  # type: ignore[arg-type, call-arg]
            except BaseException as error:
                claim(error, f"while stage {stage_name(stage)} worked on record {number}")
                raise
        return record
