"""The stages for single records at work."""

from __future__ import annotations

from typing import Any

from datarax_mp.core.strays import claim
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import here
from datarax_mp.stages.base import Rank
from datarax_mp.stages.random_map import Generators


class RecordStages:
    """Those among a recipe's host stages; they come first, but for those that whoever reads has seen to.

    Args:
        recipe: the recipe.
        first: the place of the first one; None is that behind what a record's items come of, and what a cache keeps.
        end: the place behind the last one.
    """

    def __init__(self, recipe: Recipe, first: int | None = None, end: int | None = None) -> None:
        stages: list[Any] = recipe.of_rank(Rank.RECORD)
        self._stages = stages
        if first is None:
            first = max(len(recipe.until_items), 0 if recipe.cache is None else recipe.cache.before)
        numbered = list(enumerate(stages))[first:end]
        self._functions = [(place, stage.fn, stage.random) for place, stage in numbered]
        self._seed = recipe.order.seed
        self._draws = {place: recipe.draws_as(place) for place, _, random in self._functions if random}

    def __len__(self) -> int:
        return len(self._functions)

    def generators(self, epoch: int) -> dict[int, Generators]:
        """Those of the random stages, by the stage's place."""
        return {place: Generators(self._seed, epoch, number) for place, number in self._draws.items()}

    def apply(self, number: int, record: Any, generators: dict[int, Generators]) -> Any:
        """What they make of a record.

        Raises:
            Exception: what a stage raised, with a note that names it and the record.
        """
        if type(record) is dict:
            record = (
                record.copy()
            )  # a source may keep the one that it gave: what stages put in would be there next time
        for place, fn, random in self._functions:
            here.stage(place, number)
            try:
                # The generator is never bound to a name here, so that the next record may reuse it.
                record = fn(record, generators[place].of(number)) if random else fn(record)
            except BaseException as error:
                claim(error, f"while stage {self._stages[place].name} worked on record {number}")
                raise
        return record
