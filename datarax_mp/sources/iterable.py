"""What has neither length nor numbers: a stream, a socket, somebody's generator."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from datarax_mp.core.integers import integer
from datarax_mp.sources.facts import SaysFacts, SourceFacts


class IterableSource(SaysFacts):
    """Records that come out of iterators: a Hugging Face streaming data set, webdataset, a socket, a generator.

    ``make(lane, lanes)`` is called in the workers and gives the iterator, or what can be iterated, of one of ``lanes``
    parts of the stream; together they should give every record once. How many there are is part of the stream: step s
    is the next batch of lane s mod ``lanes``, whatever the number of workers, of which at most so many have something
    to do. A lane that ends has a last batch of what is left (not with ``drop_last``), and no steps after that. An epoch
    ends when all lanes have; the next one calls ``make`` anew (what has a ``set_epoch`` is told the epoch before).

    A lane is with one worker at a time, and every batch says where it stands after it. If the iterator, or what
    ``make`` has given, has ``state_dict`` and ``load_state_dict``, or ``get_state`` and ``set_state``, that is what it
    says: a value that pickles, of plain JSON values if ``Pipeline.get_state`` is to be used. Otherwise records are
    counted, and whoever goes on passes over so many: **it costs reading them**. Either way ``make`` must give a new
    iterator, of the same records, every time: a lane is opened anew when a worker is lost, when a state is set, and
    once where your code turns out to draw from global random generators. To see what records are like, the first of
    lane 0 is read by an iterator of its own.

    A record must not be changed after it was given: a batch's records are taken before the first of them is written.

    ``shuffle=ShuffleWindow(records=n)`` shuffles within windows of n records of a lane, of which each worker holds one
    for every lane that it is at, and goes on exactly. A Hugging Face stream with ``.shuffle(buffer_size=)`` does not:
    its state lacks the records in the buffer, which are lost wherever a lane is opened from a state. A warning says so.

    ``Filter`` and ``FlatMap`` work as the records come, without a pass over the source. With ``on_error="skip"`` an
    iterator that raises is asked again, which ends a generator, and with it the lane; after 64 times in a row it is an
    error.

    **Not with** what needs the records' numbers, or how many there are. Errors (ValueError) are ``shard=`` and a
    sharding over several processes (give each host lanes of its own), ``sampler=``, ``batch_by=``, ``retries=``,
    ``shuffle=True`` and ``Cache``, ``Pipeline.at``, ``records``, ``find`` and ``skip``, and ``set_state(elastic=True)``
    with another ``batch_size`` or ``drop_last``. ``len`` of the pipeline is a TypeError, and so is ``get_state`` if the
    iterator's own state is more than plain JSON values.

    Attributes:
        make: see above; it must pickle, or be a function that can be sent to workers.
        lanes: how many iterators there are.

    Raises:
        TypeError: ``make`` is no function of a lane and the number of lanes, or ``lanes`` no int.
        ValueError: ``lanes`` is less than 1.

    >>> from datarax_mp import Pipeline
    >>> source = IterableSource(lambda lane, lanes: ({"x": number} for number in range(lane, 10, lanes)), lanes=2)
    >>> [batch["x"].tolist() for batch in Pipeline(source=source, batch_size=2)]
    [[0, 2], [1, 3], [4, 6], [5, 7], [8], [9]]
    """

    def __init__(self, make: Callable[[int, int], Iterable[Any]], *, lanes: int = 8) -> None:
        if not callable(make):
            raise TypeError(
                "IterableSource takes a function (lane, lanes) -> iterator, which workers call; got a "
                f"{type(make).__name__}. An iterator by itself cannot be had again when a worker is lost"
            )
        self.make, self.lanes = make, integer("lanes", lanes, least=1)

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        return SourceFacts(type(self).__name__, lanes=self.lanes)
