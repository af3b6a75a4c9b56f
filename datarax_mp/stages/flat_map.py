"""FlatMap: several records of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.integers import integer
from datarax_mp.core.record import RecordError
from datarax_mp.sources.own_copy import own_copy
from datarax_mp.stages.base import Rank, Stage


@dataclass(frozen=True, slots=True)
class FlatMap(Stage):
    """Make several records of one, or none: crops of an image, sentences of a text, frames of a film.

    An epoch then consists of *items*: each of the records that come out, once, shuffled one by one if the pipeline
    shuffles, and batches stay full. How many each record gives is found out before the first batch, by a pass over
    the source as for ``Filter``, at the same cost and kept in the same way (8 bytes a record); after that the order is
    arithmetic as ever. Item j of a record is made when its batch is: a record is read once for all of its items that a
    batch has, so ``shuffle`` makes a record be read, and ``fn`` called, once for nearly every item.

    ``fn`` must be pure: the same record gives the same ones, in every epoch; so it comes before all random stages. A
    ``RandomMapElement`` behind it gets a generator for each item, made of (seed, epoch, item's number, stage). The
    items' arrays are read-only, for those of one record may share memory. ``batch.metadata[row].index`` and
    ``Pipeline.records`` give the number of the record that an item is of. A ``Filter`` before it, or behind, may leave
    out records, or items.

    Attributes:
        fn: ``record -> records``, a list of them, or anything else that gives them one by one. Those of a generator are
            copied as they come, so that it may write all of them to one array; those of a list are not.
        most: how many it gives at most.

    >>> halves = FlatMap(lambda record: [{"x": record["x"][:2]}, {"x": record["x"][2:]}], most=2)
    >>> from datarax_mp import Pipeline
    >>> pipeline = Pipeline(source={"x": [[1, 2, 3, 4], [5, 6, 7, 8]]}, batch_size=3, stages=[halves])
    >>> [batch["x"].tolist() for batch in pipeline]
    [[[1, 2], [3, 4], [5, 6]], [[7, 8]]]
    """

    rank = Rank.RECORD
    expands = True

    fn: Callable[[Any], Iterable[Any]]
    most: int

    def check(self, where: str) -> None:
        """See ``Stage``.

        Raises:
            ValueError: ``most`` is less than 1.
        """
        super(FlatMap, self).check(where)  # slots=True makes another class of this, which ``super()`` does not know
        integer(f"{where}: most", self.most, least=1)

    def outputs(self, record: Any) -> list[Any]:
        """The records that one gives.

        Raises:
            RecordError: they are more than ``most``, or nothing that gives records.
        """
        outputs = self.fn(record)
        if type(outputs) is not list:
            if isinstance(outputs, (Mapping, str, bytes)) or not isinstance(outputs, Iterable):
                raise RecordError(f"{self.name} must return a list of records, it returned a {type(outputs).__name__}")
            outputs = list(map(own_copy, outputs) if isinstance(outputs, Iterator) else outputs)
        if len(outputs) > self.most:
            raise RecordError(f"{self.name} may give {self.most} records (most=), and has given {len(outputs)}")
        return outputs
