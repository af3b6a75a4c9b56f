"""What is in force of a ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from datarax_mp.ledger.entries import TORN, Begin, Entry, Place

_NONE = Place(-1, 0)  # before every other


class Given(NamedTuple):
    """A batch that was received, and how the iterator began that gave it."""

    entry: Entry
    begin: Begin


@dataclass(slots=True)
class Batches:
    r"""The batches of a ledger by their place, without those that are void.

    >>> about = b'{"epoch": 0, "place": %d, "records": 9, "items": false, "batch_size": 3, "shard": [0, 1], '
    >>> about += b'"seed": 0, "fields": [], "objects": [], "version": 1}'
    >>> lines = [b"@ " + about % 0, b"0 0 0 3 aa", b"0 1 3 3 bb", b"0 2 6 3 cc", b"@ " + about % 3, b"0 1 3 3 dd"]
    >>> found = Batches.of(line + b"\n" for line in lines)
    >>> {place.place: given.entry.digest.hex() for place, given in found.given.items()}
    {0: 'aa', 3: 'dd'}
    """

    given: dict[Place, Given] = field(default_factory=dict)
    _begin: Begin | None = None
    _last: Place = _NONE

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> Batches:
        """Read a ledger's lines. A last one that does not end is being written, or torn, and does not count.

        Raises:
            ValueError: a line is none of a ledger; the message has its number.
        """
        batches = cls()
        for number, line in enumerate(lines, 1):
            if line.endswith(TORN) or not line.endswith(b"\n"):
                continue
            try:
                batches._take(line)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
        return batches

    def _take(self, line: bytes) -> None:
        if line.startswith(b"@ "):
            self._begin = Begin.read(line[2:])
            self._void(self._begin.at)
            return
        words = line.split()
        try:
            if words[0] == b"-":
                _, epoch, place = words
                self.given.pop(Place(int(epoch), int(place)), None)
                return
            epoch, step, place, rows, digest = words
            entry = Entry(int(epoch), int(step), int(place), int(rows), bytes.fromhex(digest.decode()))
        except (ValueError, IndexError) as error:
            raise ValueError(f"expected a line of a ledger, found {line[:100]!r}") from error
        if self._begin is None:
            raise ValueError("expected the begin of an iterator before the first batch")
        self.given[entry.at] = Given(entry, self._begin)
        self._last = max(self._last, entry.at)

    def _void(self, since: Place) -> None:
        if self._last >= since:
            self.given = {place: given for place, given in self.given.items() if place < since}
            self._last = max(self.given, default=_NONE)


def read(path: str) -> Batches:
    """Read the file of a ledger, which may be being written to.

    Raises:
        ValueError: it is none.
        OSError: it cannot be read.
    """
    with open(path, "rb") as lines:
        return Batches.of(lines)
