"""Carrying a recipe out in this process: a worker's, or the calling one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from datarax_mp.core.errors import EXITS, RemoteError
from datarax_mp.core.notes import add_note
from datarax_mp.core.refusals import note_shortage
from datarax_mp.core.strays import claim, claimed, is_stray
from datarax_mp.recipe.layouts import Layouts, probe
from datarax_mp.recipe.maker import Made, Maker, compile
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import here
from datarax_mp.recipe.user_code import Seeder, UserCode
from datarax_mp.recipe.watch import watch
from datarax_mp.recipe.work import Done, Failed, ReadBlock, Run, Shelved, Written
from datarax_mp.sources.block import Block
from datarax_mp.sources.block_view import FindBlock, no_block, view_of
from datarax_mp.sources.blocks import BlockSource
from datarax_mp.sources.facts import SourceFacts

Pack: TypeAlias = Callable[[BaseException], RemoteError]


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
        blocks = SourceFacts.of(recipe.source).blocks
        self._view = None if blocks is None else view_of(cast(BlockSource, recipe.source))
        self._free = 0.0  # since when there has been nothing to do, by ``time.perf_counter``

    def probe(self, epoch: int) -> Layouts:
        """Read the first record and see what comes out; the user's code is told of the epoch first."""
        user, began = self.user_code, time.perf_counter()
        if user.there:
            user.enter(epoch)
            layouts = user.watch(epoch, lambda: self._probe(epoch))._replace(draws=user.draws)
        else:
            layouts = self._probe(epoch)
        return layouts._replace(seconds=time.perf_counter() - began)

    def _probe(self, epoch: int) -> Layouts:
        return probe(self.recipe)

    def settle(self, layouts: Layouts) -> None:
        """Write batches as the layouts say from now on."""
        self._maker = compile(self.recipe, layouts, self._view)
        self._block_bytes = layouts.delivered.block_bytes
        self.user_code.draws = layouts.draws

    @property
    def only_copies(self) -> bool:
        """Whether all there is to do is to copy rows of arrays; known when it is settled how batches are written."""
        return self._maker is not None and self._maker.only_copies

    def perform(
        self, run: Run, memory: Any, slot_bytes: int, pack: Pack, shelved: FindBlock = no_block
    ) -> Done | Failed:
        """Do a run.

        Args:
            run: what is to be done.
            memory: begins with slot 0.
            slot_bytes: bytes of a slot.
            pack: makes an exception ready for its journey.
            shelved: finds blocks of the source that have been read for this run.
        """
        began = time.perf_counter()
        done: list[Made] = []
        if self._view is not None:
            self._view.shelved = shelved
        look = watch.begin(began, run.closely)
        try:
            self._carry_out(run, memory, run.slot * slot_bytes, done)
        except EXITS:
            raise
        except BaseException as error:  # a panic in native code, a test's outcome: no reason for a process to end
            return Failed(_packed(error, pack), self._written(done))
        finally:
            if look is not None and not watch.leave(look):
                look = None
        free, self._free = self._free, time.perf_counter()
        timed = None
        if look is not None or here.retried or here.hits or here.misses:
            idle = began - free if free else None
            timed = watch.timed(look, self._free, self._free - began, idle, keep=run.closely)
        return Done(self._free - began, self._written(done), timed)

    def read_block(
        self,
        reading: ReadBlock,
        pack: Pack,
        put: Callable[[Block], tuple[int, Any]] = lambda block: (block.nbytes, block),
    ) -> Shelved | Failed:
        """Read a block of the source.

        Args:
            reading: which.
            pack: as above.
            put: takes the block, and returns its bytes and what it is found by; that may be the block itself.
        """
        began, user = time.perf_counter(), self.user_code
        source = cast(BlockSource, self.recipe.source)

        def read() -> tuple[int, Any]:
            if user.there and (seed := user.seeder()) is not None:
                seed(reading.epoch, -2 - reading.block)  # no record's position
            here.block(reading.epoch, reading.block)
            try:
                source.expect_blocks(reading.ahead)
                block = source.take_block(reading.block)
            except BaseException as error:
                claim(error)
                raise
            return put(block)

        try:
            user.enter(reading.epoch)
            nbytes, content = user.try_out(read) if user.there else read()
        except EXITS:
            raise
        except BaseException as error:  # as above
            return Failed(_packed(error, pack), Written.nothing())
        return Shelved(time.perf_counter() - began, nbytes, content)

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
        by_step = order.by_step(epoch, run.step, run.steps)
        if self._view is not None:
            self._view.expect(by_step)
        for place, wanted in enumerate(by_step):
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

    def _written(self, done: list[Made]) -> Written:
        return Written(
            [made.info for made in done],
            {place: made.skips for place, made in enumerate(done) if made.skips},
            {place: made.shapes for place, made in enumerate(done) if made.shapes is not None},
            tuple(made.digest for made in done if made.digest is not None),
        )


def _packed(error: BaseException, pack: Pack) -> RemoteError:
    """What the user's code has raised, for its journey; anything else is raised again."""
    if is_stray(error):
        raise error
    claimed(error)
    note_shortage(error)
    return pack(error)
