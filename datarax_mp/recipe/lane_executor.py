"""Carrying out a recipe whose records come out of lanes."""

from __future__ import annotations

from typing import Any

import numpy as np

from datarax_mp.core.notes import add_note
from datarax_mp.core.strays import is_stray
from datarax_mp.order.lanes import LaneOrder
from datarax_mp.recipe.executor import Executor
from datarax_mp.recipe.lane import Examples, Lane, OpenLanes
from datarax_mp.recipe.lane_view import LaneView
from datarax_mp.recipe.layouts import Layouts, probe
from datarax_mp.recipe.maker import Made, compile
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import here
from datarax_mp.recipe.user_code import Seeder, UserCode
from datarax_mp.recipe.work import FromLane, Run, Written


class LaneExecutor(Executor):
    """Does runs of one step each, out of the lane that the run says, from where it says.

    Args:
        recipe: what is done.
        user_code: see ``Executor``.
        lanes: where lanes are kept between two runs; others may do the next one.
    """

    def __init__(self, recipe: Recipe, user_code: UserCode | None, lanes: OpenLanes) -> None:
        super().__init__(recipe, user_code)
        self._lanes, self._items = lanes, LaneView()
        self._came: FromLane | None = None

    def _probe(self, epoch: int) -> Layouts:
        return probe(self.recipe, Examples(self.recipe, epoch))

    def settle(self, layouts: Layouts) -> None:
        """See ``Executor``."""
        self._maker = compile(self.recipe, layouts, self._items)
        self.user_code.draws = layouts.draws

    def _write(self, run: Run, memory: Any, start: int, done: list[Made], seed: Seeder | None) -> None:
        order, at = self.recipe.order, run.lane
        assert isinstance(order, LaneOrder) and at is not None
        self._came = None
        here.step(run.epoch, run.step)
        try:
            lane = self._lanes.take(run.epoch, at.number, at.cursor)
            if lane is None:  # it was with somebody else, or is to begin
                lane = Lane(self.recipe, run.epoch, at.number, at.cursor)
            if seed is not None:  # not before: what is passed over draws, too
                seed(run.epoch, order.first_row(run.epoch, run.step))
            numbers = self._take(lane, order)
            self._make(run, memory, start, done, numbers)
        except BaseException as error:
            if not is_stray(error):
                add_note(error, f"(step {run.step} of epoch {run.epoch}, lane {at.number})")
            raise
        finally:
            self._items.items = {}
        self._lanes.put(lane)
        self._came = FromLane(numbers.tobytes(), lane.cursor)

    def _take(self, lane: Lane, order: LaneOrder) -> np.ndarray:
        items = lane.batch(order.batch_size)
        if order.drop_last and len(items) < order.batch_size:
            items = []
        self._items.items = dict(items)
        return np.array([item.number for item in items], np.int64)

    def _make(self, run: Run, memory: Any, start: int, done: list[Made], numbers: np.ndarray) -> None:
        assert self._maker is not None
        width = self.recipe.order.batch_size if len(numbers) else 0
        done.append(self._maker.make(memory, start, run.epoch, numbers, width))

    def _written(self, done: list[Made]) -> Written:
        return super()._written(done)._replace(lane=self._came)


def executor_of(recipe: Recipe, user_code: UserCode | None = None, lanes: OpenLanes | None = None) -> Executor:
    """What carries a recipe out in this process; arguments as for the executors, lanes of its own by default."""
    if isinstance(recipe.order, LaneOrder):
        return LaneExecutor(recipe, user_code, OpenLanes() if lanes is None else lanes)
    return Executor(recipe, user_code)
