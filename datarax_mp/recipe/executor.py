"""Carrying a recipe out in this process: a worker's, or the calling one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from datarax_mp.core.errors import EXITS, RemoteError
from datarax_mp.core.notes import add_note
from datarax_mp.core.refusals import note_shortage
from datarax_mp.core.strays import claimed, is_stray
from datarax_mp.recipe.layouts import Layouts, probe
from datarax_mp.recipe.maker import Made, Maker, compile
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import here
from datarax_mp.recipe.user_code import Seeder, UserCode
from datarax_mp.recipe.work import Done, Failed, Run, Written


class Executor:
    """Does the runs of one recipe, so that every process produces the same bytes.

    Args:
        recipe: what is done.
        user_code: the user's code in it, where it is another one than this process's.

    Attributes:
        recipe: see above.
        user_code: what there is of the user's in it.
    """

    def __init__(self, recipe: Recipe, user_code: UserCode | None = None) -> None:
        self.recipe = recipe
        self.user_code = UserCode(recipe) if user_code is None else user_code
        self._maker: Maker | None = None
        self._block_bytes = 0

    def probe(self, epoch: int) -> Layouts:
        """Read the first record and see what comes out; the user's code is told of the epoch first."""
        user = self.user_code
        if not user.there:
            return probe(self.recipe)
        user.enter(epoch)
        layouts = user.watch(epoch, lambda: probe(self.recipe))
        return layouts._replace(draws=user.draws)

    def settle(self, layouts: Layouts) -> None:
        """Write batches as the layouts say from now on."""
        self._maker = compile(self.recipe, layouts)
        self._block_bytes = layouts.delivered.block_bytes
        self.user_code.draws = layouts.draws

    @property
    def only_copies(self) -> bool:
        """Whether all there is to do is to copy rows of arrays; known when it is settled how batches are written."""
        return self._maker is not None and self._maker.only_copies

    def perform(
        self, run: Run, memory: Any, slot_bytes: int, pack: Callable[[BaseException], RemoteError]
    ) -> Done | Failed:
        """Do a run; ``memory`` begins with slot 0, and ``pack`` makes an exception ready for its journey."""
        began = time.perf_counter()
        done: list[Made] = []
        try:
            self._carry_out(run, memory, run.slot * slot_bytes, done)
        except EXITS:
            raise
        except BaseException as error:  # a panic in native code, a test's outcome: no reason for a process to end
            if is_stray(error):
                raise
            claimed(error)
            note_shortage(error)
            return Failed(pack(error), _written(done))
        return Done(time.perf_counter() - began, _written(done))

    def _carry_out(self, run: Run, memory: Any, start: int, done: list[Made]) -> None:
        """Write the batches of a run one behind the other; ``done`` grows with the steps that are complete."""
        user = self.user_code
        if not user.there:
            self._write(run, memory, start, done, None)
            return
        user.enter(run.epoch)

        def write() -> None:
            done.clear()
            self._write(run, memory, start, done, user.seeder())

        user.try_out(write)

    def _write(self, run: Run, memory: Any, start: int, done: list[Made], seed: Seeder | None) -> None:
        maker, order, epoch = self._maker, self.recipe.order, run.epoch
        assert maker is not None
        for place, wanted in enumerate(order.by_step(epoch, run.step, run.steps)):
            step = run.step + place
            here.step(epoch, step)
            if seed is not None:
                seed(epoch, order.first_row(epoch, step))
            try:
                done.append(maker.make(memory, start + place * self._block_bytes, epoch, wanted, order.width(step)))
            except BaseException as error:
                if is_stray(error):
                    raise
                add_note(error, f"(step {step} of epoch {epoch})")
                raise


def _written(done: list[Made]) -> Written:
    return Written(
        [made.info for made in done],
        {place: made.skips for place, made in enumerate(done) if made.skips},
        {place: made.shapes for place, made in enumerate(done) if made.shapes is not None},
        tuple(made.digest for made in done if made.digest is not None),
    )
