"""Where a record comes, and which records a step has: questions to the order, which nothing has to be read for."""

from __future__ import annotations

import numpy as np

from datarax_mp.core.integers import integer
from datarax_mp.order import Order
from datarax_mp.order.choice import Numbers
from datarax_mp.pipeline.blueprint import Blueprint
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.course import Course
from datarax_mp.pipeline.lanes import check_numbered
from datarax_mp.pipeline.mixture import Served, served

_PLACES = 1 << 20  # looked at together


class Lookup:
    """The part of a pipeline that answers such questions."""

    _course: Course
    _config: Config
    _blueprint: Blueprint
    _records: int | None

    def __len__(self) -> int:
        """Batches in an epoch, or in ``num_epochs`` (elements, under ``enforce_batch=False``).

        Raises:
            TypeError: ``num_epochs=None``, and there is no end; or records come out of iterators, and nobody knows.
        """
        if self._records is None:
            raise TypeError(f"{self._blueprint.facts.name} has no length: how many records iterators give is not known")
        epochs, order = self._config.num_epochs, self._course.order
        if epochs is None:
            raise TypeError("num_epochs=None: a stream without end has no length")
        return len(order) * epochs if order.even else sum(map(order.steps, range(epochs)))

    def records(self, epoch: int, step: int) -> Numbers:
        """The records of a step, without reading any: their numbers in the source, int64 ``(rows,)``, this shard's.

        Those that ``on_error="skip"`` would leave out are among them; one of which ``FlatMap`` makes several comes as
        often as the step has of those.

        Raises:
            IndexError: the epoch has no such step.
            ValueError: records come out of iterators, and have no numbers.

        >>> from datarax_mp import Pipeline
        >>> Pipeline(source=["a", "b", "c"], batch_size=2).records(epoch=0, step=1).tolist()
        [2]
        """
        order = self._course.order
        return order.origins(order.records(*check_step(order, epoch, step)))

    def find(self, record: int, epoch: int) -> list[int]:
        """The steps of an epoch in which a record comes, over all shards; some 0.1 s for each million records.

        It is in none if it is left out, by ``drop_last``, a filter or a sampler, and in several if a sampler
        repeats it.

        Raises:
            ValueError: records come out of iterators, and have no numbers.

        >>> from datarax_mp import Pipeline
        >>> Pipeline(source=["a", "b", "c"], batch_size=2).find(record=2, epoch=0)
        [1]
        """
        order = self._course.order
        check_numbered(order, "find")
        return steps_with(order, integer("epoch", epoch, least=0), integer("record", record, least=0))

    def mixture(self) -> dict[str, Served]:
        """How many records each source of a ``MixSource`` has given, of the batches that the caller has received.

        They are counted over all shards, and over all epochs of a mixture that goes on from one to the next; otherwise
        in the epoch alone. With ``on_error="skip"`` a record that was left out counts, too. ``LengthGroups`` put the
        records of a pool in another order: within one, what is told is the mixture's share of it.

        Returns:
            For each source by name what was served and what its weight says, which differ by less than 1 where the
            weights have not changed.

        Raises:
            TypeError: the source is no ``MixSource``.

        >>> from datarax_mp import MixSource, Pipeline
        >>> mixture = MixSource({"a": {"x": [1, 2]}, "b": {"x": [3, 4]}}, {"a": 3, "b": 1})
        >>> pipeline = Pipeline(source=mixture, batch_size=3)
        >>> next(iter(pipeline))["x"].tolist(), pipeline.mixture()["a"]
        ([1, 2, 1], Served(records=3, expected=2.25))
        """
        self._course.prepare()
        return served(self._course.cursor.at, self._course.source)


def check_step(order: Order, epoch: int, step: int) -> tuple[int, int]:
    """A step of an epoch, as plain ints.

    Raises:
        TypeError: they are no ints.
        ValueError: the epoch is negative.
        IndexError: the epoch has no such step.
    """
    check_numbered(order, "asking for a step")
    epoch, step = integer("epoch", epoch, least=0), integer("step", step, least=0)
    steps = order.steps(epoch)
    if step >= steps:
        raise IndexError(f"step {step} of epoch {epoch} does not exist: the epoch has {steps} steps")
    return epoch, step


def steps_with(order: Order, epoch: int, record: int) -> list[int]:
    """The steps of an epoch, over all shards, in which a record comes; some 0.1 s for each million records.

    Args:
        order: which records make a step.
        epoch: the epoch.
        record: the record's number in the source.
    """
    places = range(order.first(epoch), order.places)
    found = [
        chunk.start + int(at)
        for first in range(0, len(places), _PLACES)
        for chunk in [places[first : first + _PLACES]]
        for at in np.flatnonzero(order.origins(order.at(epoch, np.arange(chunk.start, chunk.stop))) == record)
    ]
    return list(dict.fromkeys(step for place in found if (step := _step_of(order, epoch, place)) is not None))


def _step_of(order: Order, epoch: int, place: int) -> int | None:
    """The step that has a place of the epoch; None if it is left out with the rest of an epoch."""
    low, high = 0, order.steps(epoch)
    if high == 0 or place >= order.place(epoch, high):
        return None
    while high - low > 1:  # place(low) <= place < place(high)
        middle = (low + high) // 2
        low, high = (middle, high) if order.place(epoch, middle) <= place else (low, middle)
    return low
