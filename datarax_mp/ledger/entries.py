"""The lines of a ledger as values, and the text that stands for them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

from datarax_mp.core.record import field_name
from datarax_mp.core.spec import Layout
from datarax_mp.order import Epoch, Order

VERSION = 1
TORN = b"~\n"  # what makes a line of one that was torn


class Place(NamedTuple):
    """A position that means the same records whatever the batch size.

    Attributes:
        epoch: the epoch.
        place: how many of its records were used up before, over all shards.
    """

    epoch: int
    place: int


class Entry(NamedTuple):
    """A batch that the user has received; see ``digests`` for the words of its digest."""

    epoch: int
    step: int
    place: int
    rows: int
    digest: bytes

    @classmethod
    def of(cls, epoch: Epoch, step: int, rows: int, digest: bytes | None) -> Entry:
        """What there is to say of a batch, which has a digest."""
        assert digest is not None
        return cls(epoch.number, step, epoch.place(step), rows, digest)

    @property
    def at(self) -> Place:
        """Where it comes."""
        return Place(self.epoch, self.place)

    def line(self) -> bytes:
        r"""The line for it.

        >>> Entry(0, 2, 8, 4, bytes.fromhex("00ff")).line()
        b'0 2 8 4 00ff\n'
        """
        return b"%d %d %d %d %s\n" % (self.epoch, self.step, self.place, self.rows, self.digest.hex().encode())

    def taken_back(self) -> bytes:
        """The line that voids it."""
        return b"- %d %d\n" % (self.epoch, self.place)


@dataclass(frozen=True, slots=True)
class Begin:
    """Where an iterator begins, and what its batches are.

    Attributes:
        epoch: its first epoch.
        place: where in it, as in ``Place``.
        records: how many the source has, or how many items a stage makes of them.
        items: whether it is those that are numbered.
        batch_size: the rows of a step.
        shard: which one of how many.
        seed: what all that is random is made of.
        fields: of each field that is an array its name, dtype and row's shape, in order.
        objects: the names of the others.
        version: of this format.
    """

    epoch: int
    place: int
    records: int
    items: bool
    batch_size: int
    shard: tuple[int, int]
    seed: int
    fields: tuple[tuple[str, str, tuple[int, ...]], ...]
    objects: tuple[str, ...]
    version: int = VERSION

    @classmethod
    def of(cls, order: Order, epoch: int, step: int, layout: Layout, records: int) -> Begin:
        """Describe an iterator that begins at a step of an order."""
        return cls(
            epoch,
            order.place(epoch, step),
            records if order.expansion is None else order.expansion.items,
            order.expansion is not None,
            order.batch_size,
            (order.shard_index, order.shard_count),
            order.seed,
            tuple((field_name(spec.path), spec.dtype.name, spec.shape) for spec in layout.fields),
            tuple(map(field_name, layout.info)),
        )

    @classmethod
    def read(cls, text: bytes) -> Begin:
        """Read what stands behind the ``@`` of a line.

        Raises:
            ValueError: it is none, or of another version.
        """
        try:
            told = json.loads(text)
            fields = tuple((name, dtype, tuple(shape)) for name, dtype, shape in told.pop("fields"))
            begin = cls(shard=tuple(told.pop("shard")), fields=fields, objects=tuple(told.pop("objects")), **told)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"expected the begin of an iterator, found {text[:100]!r}") from error
        if begin.version != VERSION:
            raise ValueError(f"the ledger is of version {begin.version}; this release reads version {VERSION}")
        return begin

    @property
    def at(self) -> Place:
        """Where it begins."""
        return Place(self.epoch, self.place)

    def line(self) -> bytes:
        """The line for it."""
        return f"@ {json.dumps(asdict(self))}\n".encode()
