"""How a pipeline's batches are had: one by one, any one of them, several in one array, in a compiled loop."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from typing import Any, Generic, NamedTuple

from datarax_mp.core.errors import ENDS, no_end
from datarax_mp.core.integers import integer
from datarax_mp.core.tracebacks import for_user
from datarax_mp.delivery.placement import steps_first
from datarax_mp.feed.chunks import Chunks
from datarax_mp.ledger.book import Ledger
from datarax_mp.order.epoch import Epoch
from datarax_mp.order.reach import Reach
from datarax_mp.pipeline import arguments
from datarax_mp.pipeline.barren import no_next_batch
from datarax_mp.pipeline.blueprint import Blueprint
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.pipeline.lanes import check_numbered
from datarax_mp.pipeline.lookup import check_step
from datarax_mp.pipeline.session import Session
from datarax_mp.pipeline.skips import Skips
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.pipeline.yields import Yielded


class _Going(NamedTuple):
    """What the last call went on with, for the next one of its kind.

    Attributes:
        iterator: an iterator.
        cursor: where it is; another one at the pipeline means that somebody has begun another.
        chunks: how its steps come together.
    """

    iterator: PipelineIterator[Any]
    cursor: Cursor
    chunks: Chunks | None


class Onward(Generic[Yielded]):
    """The part of a pipeline that gives batches."""

    _blueprint: Blueprint
    _config: Config
    _course: Course
    _records: int | None
    _skips: Skips
    _ledger: Ledger | None
    _iterators: weakref.WeakSet[PipelineIterator[Any]]
    _closed: bool
    _going: _Going | None = None

    def at(self, epoch: int, step: int) -> Yielded:
        """One batch, without touching the iteration: what ``next`` gives there, whenever it is asked for.

        Args:
            epoch: the epoch, from 0.
            step: the step in it, from 0.

        Raises:
            IndexError: the epoch has no such step.
            ValueError: records come out of iterators, and it is not known which steps there are.
            LookupError: all of the step's records are skipped, so that nobody receives a batch there.
            Exception: what ``iter`` and ``next`` raise.

        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": np.arange(10)}, batch_size=4, shuffle=True, seed=0)
        >>> wanted = [batch["x"].tolist() for batch in pipeline][1]
        >>> pipeline.at(epoch=0, step=1)["x"].tolist() == wanted
        True
        """
        self._renew()
        session, order = self._course.prepare(), self._course.order
        epoch, step = check_step(order, epoch, step)
        cursor = Cursor(Position(order, epoch, step))
        iterator, stages = self._iterator(session, cursor, 0, None, reach=Reach(steps=1)), self._blueprint.device_stages
        with closing(iterator), nullcontext() if stages is None else stages.unchanged():
            iterator.begin()
            batch = next(iterator, None)
        if batch is None or cursor.at.step != step + 1:
            raise LookupError(f"all records of step {step} of epoch {epoch} are skipped, so it has no batch")
        return batch

    def __call__(self, batch: Any) -> Any:
        """What the device stages make of a batch, and nothing else; the batch stays as it is.

        Random stages draw as for the batch that comes next, and those that draw for each record as for the first ones.

        Args:
            batch: a dict of arrays ``(rows, ...)``, or a Batch; what is returned is of the same kind.

        >>> import jax.numpy as jnp
        >>> from datarax_mp import DeviceStage, Pipeline
        >>> double = DeviceStage(lambda batch: {"x": batch["x"] * 2})
        >>> Pipeline(source={"x": [1.0]}, batch_size=1, stages=[double])({"x": jnp.ones(2)})["x"].tolist()
        [2.0, 2.0]
        """
        if (stages := self._blueprint.device_stages) is None:
            return batch
        from datarax_mp.pipeline.applied import applied  # delayed: it imports JAX

        self._course.prepare()
        order, epoch, step = self._course.cursor.at
        return applied(stages, batch, Epoch(order, epoch), step)

    def stacked(self, steps: int) -> PipelineIterator[Yielded]:
        """Begin the next epoch, or ``num_epochs``, as ``iter`` does, with ``steps`` batches in each Batch.

        Its arrays are ``(steps, rows, ...)``, of NumPy views where workers have written them; ``batch_size`` is the
        number of steps, and ``metadata``, ``info`` and ``valid_mask`` have one list or row for each of them. The last
        group is shorter if the epoch's steps do not divide. Batches of one shape are in a group: it ends before one
        that is smaller, an epoch's last one or one that lacks skipped records. Device stages see single batches. A
        state counts steps, so whoever goes on from it may stack others, or none.

        Raises:
            TypeError: ``steps`` is no int.
            ValueError: it is less than 1, or single elements are wanted, or the sharding is of a kind that cannot be
                extended by an axis.

        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": np.arange(10)}, batch_size=2)
        >>> [group["x"].shape for group in pipeline.stacked(3)]
        [(3, 2), (2, 2)]
        """
        steps = integer("steps", steps, least=1)
        self._stackable("stacked")
        self._course.prepare()
        start = self._course.next
        return self._begin(Chunks(steps, start=start.step, epoch=start.epoch))

    def skip(self, steps: Iterable[int], *, epoch: int | None = None) -> None:
        """Leave steps out of an epoch: a stretch over which the loss jumped, say. Nobody reads their records.

        It holds for iterators that begin afterwards, and is part of their states; ``set_state`` puts what its state
        says in its place. All other steps stay as they are, and keep their numbers: in metadata, in states, for
        ``at``, ``records`` and ``len``. Of several hosts, all have to leave out the same.

        Args:
            steps: their numbers in the epoch, from 0: a ``range``, or any ints.
            epoch: the epoch, from 0; None is the one in which the next iterator begins.

        Raises:
            TypeError: they are no ints.
            IndexError: the epoch has no such step.
            ValueError: they are more ranges than a state has room for; or records come out of iterators.

        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": np.arange(10)}, batch_size=2)
        >>> pipeline.skip(range(1, 4))
        >>> [batch["x"].tolist() for batch in pipeline]
        [[0, 1], [8, 9]]
        """
        order = self._course.order
        check_numbered(order, "skip")
        number = self._course.next.epoch if epoch is None else integer("epoch", epoch, least=0)
        if not isinstance(steps, Iterable):
            raise TypeError(f"steps must be the numbers of steps, range({steps!r}) perhaps, got {steps!r}")
        wanted = steps if isinstance(steps, range) else [integer("a step", step, least=0) for step in steps]
        known = order.steps(number)
        if len(wanted) and (min(wanted) < 0 or max(wanted) >= known):
            raise IndexError(f"steps {min(wanted)} to {max(wanted)}: epoch {number} has {known} steps, from 0")
        self._course.left_out = self._course.left_out.with_steps(number, wanted)
        going, self._going = self._going, None  # ``step`` and ``scan`` begin an iterator anew
        if going is not None:
            going.iterator.close()

    def step(self) -> dict[str, Any]:
        """The next batch as a dict of arrays, where the newest iterator is; the next epoch follows by itself.

        Raises:
            ValueError: single elements are wanted, or an epoch has no batch, all of its records being skipped, say.
            Exception: what ``iter`` and ``next`` raise.

        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": [1.0, 2.0, 3.0]}, batch_size=2)
        >>> [pipeline.step()["x"].tolist() for _ in range(3)]
        [[1.0, 2.0], [3.0], [1.0, 2.0]]
        """
        self._batches_wanted("step")
        self._course.prepare()
        before = self._course.cursor.at
        try:
            data: dict[str, Any] = self._following(lambda *_: None).get_data()
        except BaseException:  # also one that comes when the batch is there, and the caller has not got it
            self._course.cursor = Cursor(before)
            raise
        return data

    def scan(
        self,
        step_fn: Callable[..., Any],
        *,
        length: int,
        modules: Sequence[Any] = (),
        init_carry: Any = None,
    ) -> Any:
        """Take ``length`` steps in compiled loops, up to 64 batches in each, so that Python is no part of a step.

        It goes on where the newest iterator is, and with the next epoch where one ends; a state counts the steps. What
        is compiled serves every ``length`` of 64 or more, and of less that one; a shorter last batch is compiled for
        itself, unless ``drop_last`` or ``pad_last`` is set. The results are those of a loop over single batches, bit
        for bit where XLA compiles a step inside a loop as it does alone, which on the CPU it does for dense layers. At
        convolutions inside loops its CPU backend is 20 times slower than outside, whatever writes the loop; there,
        train step by step.

        Args:
            step_fn: ``(*modules, batch) -> out``, or with a carry ``(carry, *modules, batch) -> (carry, out)``, traced
                as by ``jax.jit``; the batch is a Batch without metadata. The same function is compiled once, so do not
                make it anew for every call.
            length: how many steps.
            modules: ``nnx.Module`` and ``nnx.Optimizer`` objects that it is given. What it changes in them is in them
                afterwards; also after an exception, of the steps before, and a state counts these.
            init_carry: what the first step is given as the carry, a pytree of arrays; None is no carry.

        Returns:
            The outputs of all steps, stacked: a pytree of arrays ``(length, ...)``. With a carry, the last carry and
            the outputs.

        Raises:
            ValueError: another output than JAX's, or single elements, are wanted, or an epoch has no batch, as in
                ``step``.
            Exception: what ``iter`` and ``next`` raise.

        >>> import numpy as np
        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": np.arange(6.0)}, batch_size=2)
        >>> pipeline.scan(lambda batch: batch["x"].sum(), length=4).tolist()
        [1.0, 5.0, 9.0, 1.0]
        """
        if (output := self._config.output) != "jax":
            raise ValueError(f"scan runs on the device, which output={output!r} does not touch")
        self._stackable("scan")
        from datarax_mp.pipeline.scanned import Scanned  # delayed: it imports JAX

        scanned = Scanned(step_fn, modules, init_carry, integer("length", length, least=1))
        before, left = self._course.cursor.at, 0
        try:
            while scanned.left:
                before = self._course.cursor.at
                left = scanned.left
                scanned.take(self._following(scanned.chunks))
            scanned.hand_back()
        except BaseException:  # also one that comes into handing back
            if scanned.left == left:  # what was received, if anything, the modules have not seen
                self._course.cursor = Cursor(before)
            scanned.hand_back()
            raise
        return scanned.result()

    def _following(self, wanted: Callable[[int, int], Chunks | None]) -> Any:
        """What comes next; ``wanted`` says for the step and epoch where it begins how steps are to come together."""
        while True:
            iterator, began = self._at_hand(wanted)
            before, skipped = self._course.cursor.at, self._skips.count
            for item in iterator:
                return item
            order, epoch, _ = self._course.cursor.at
            if not began or before.step or epoch == before.epoch:
                continue  # it has not gone through a whole epoch
            steps = order.steps(epoch - 1)
            if not steps or any(self._course.left_out.kept(epoch - 1, 0, steps)):
                newest = self._skips.newest() if self._skips.count != skipped else []
                raise no_next_batch(epoch - 1, newest[-1].reason if newest else None)

    def _at_hand(self, wanted: Callable[[int, int], Chunks | None]) -> tuple[Iterator[Any], bool]:
        """An iterator that goes on from here, and whether it was begun for that."""
        self._course.prepare()
        _, epoch, step = self._course.cursor.at
        chunks, going = wanted(step, epoch), self._going
        if going is not None:
            if going.cursor is self._course.cursor and _same(going.chunks, chunks, step) and not going.iterator.ended:
                return going.iterator, False
            self._going = None
            going.iterator.close()
        iterator = self._begin(chunks, here=True)
        self._going = _Going(iterator, self._course.cursor, chunks)
        return iterator, True

    def _begin(self, chunks: Chunks | None = None, *, here: bool = False) -> PipelineIterator[Yielded]:
        """An iterator for the next epoch, or from ``here`` on, where the newest one is."""
        self._renew(here=here)
        course = self._course
        before = course.next
        # Where ``scan`` is to have a chunk's end is known of one epoch alone.
        epochs = self._config.num_epochs if chunks is None or chunks.every is None else 1
        reach = Reach(epochs, left_out=course.left_out)
        start = course.cursor.at if here else course.upcoming(reach)
        session, following, cursor = course.session(start.order), start.behind(reach), Cursor(start)
        prefetch_size, ledger = self._config.options.prefetch_size, self._ledger
        iterator = self._iterator(
            session, cursor, prefetch_size, self._skips, reach=reach, chunks=chunks, ledger=ledger
        )
        try:
            course.next = following  # already now, in case a signal handler iterates, too
            iterator.begin()
            course.cursor = cursor
            return iterator
        except BaseException as error:
            if course.next is following:
                course.next = before
            if isinstance(error, Exception):
                for_user(error)
            raise

    def _renew(self, *, here: bool = False) -> None:
        if self._closed:
            raise RuntimeError("the pipeline is closed; make a new one")
        try:
            if self._records is not None:
                arguments.check_length(self._blueprint.source, self._records)
            self._course.renew(here=here)
        except ENDS as error:  # of the source's ``__len__``, say
            raise no_end(error) from error

    def _iterator(
        self,
        session: Session,
        cursor: Cursor,
        prefetch_size: int,
        skips: Skips | None,
        *,
        reach: Reach,
        chunks: Chunks | None = None,
        ledger: Ledger | None = None,
    ) -> PipelineIterator[Yielded]:
        course = self._course
        iterator: PipelineIterator[Yielded] = PipelineIterator(
            session,
            cursor,
            prefetch_size,
            course.dump,
            course.resume_iterator,
            skips,
            reach=reach,
            chunks=chunks,
            ledger=ledger,
        )
        self._iterators.add(iterator)  # before it begins, so that another thread's close() reaches it
        return iterator

    def _batches_wanted(self, name: str) -> None:
        if self._config.single:
            raise ValueError(f"{name} is about batches, and enforce_batch=False makes none")

    def _stackable(self, name: str) -> None:
        """Make sure that batches can be stacked."""
        self._batches_wanted(name)
        if self._records is None:
            raise ValueError(f"{name} takes steps together that are made together, and each lane makes its own")
        steps_first(self._config.sharding)


def _same(one: Chunks | None, other: Chunks | None, step: int) -> bool:
    """Whether chunks end at the same places from a step on."""
    if one is None or other is None or one.every is None or other.every is None:
        return one == other
    alike = dataclasses.replace(one, start=other.start) == other
    return alike and (step - one.start) % one.every == (step - other.start) % other.every
