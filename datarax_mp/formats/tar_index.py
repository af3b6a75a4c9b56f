"""Which samples a tar archive has and where their fields lie, by the names of WebDataset.

photos/0001.jpg   photos/0001.cls   photos/0002.jpg   photos/0002.cls      members, one behind the other
key "photos/0001": jpg, cls         key "photos/0002": jpg, cls            samples: the name up to its first dot
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from datarax_mp.formats.indexes import Arrays
from datarax_mp.formats.tar_members import Member


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples of one archive.

    Attributes:
        firsts: int64 ``(samples + 1,)``, the first member of each, and the end.
        begins: int64 ``(members,)``, where the data of each begin.
        sizes: int64 ``(members,)``, their bytes.
        codes: uint16 ``(members,)``, which of the suffixes it has.
        suffixes: str, those that there are.
        keys: uint8, the keys of all samples, one behind the other.
        key_ends: int64 ``(samples + 1,)``, 0, and where each of them ends.
        passed_over: int64 ``(1,)``, how many members belong to no sample: those without a suffix, and hidden ones.
    """

    firsts: NDArray[np.int64]
    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]
    codes: NDArray[np.uint16]
    suffixes: NDArray[np.str_]
    keys: NDArray[np.uint8]
    key_ends: NDArray[np.int64]
    passed_over: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.firsts) - 1

    @property
    def arrays(self) -> Arrays:
        """All of it, as it is kept."""
        return dict(vars(self))

    @property
    def spans(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the data of each sample begin, and end."""
        last = self.firsts[1:] - 1
        return self.begins[self.firsts[:-1]], self.begins[last] + self.sizes[last]

    def key(self, sample: int) -> str:
        """A sample's key; bytes that are no UTF-8 are kept as surrogates."""
        return self.keys[self.key_ends[sample] : self.key_ends[sample + 1]].tobytes().decode(errors="surrogateescape")

    def part(self, first: int, end: int) -> Samples:
        """Some samples that follow one another, whose offsets are those within their own bytes."""
        members = slice(self.firsts[first], self.firsts[end])
        keys = slice(self.key_ends[first], self.key_ends[end])
        return Samples(
            self.firsts[first : end + 1] - self.firsts[first],
            self.begins[members] - self.begins[members.start],
            self.sizes[members],
            self.codes[members],
            self.suffixes,
            self.keys[keys],
            self.key_ends[first : end + 1] - self.key_ends[first],
            self.passed_over,
        )


def joined(parts: Sequence[Samples]) -> Samples:
    """The samples of several archives, one behind the other; offsets stay those within each archive."""
    suffixes = {suffix: None for part in parts for suffix in part.suffixes.tolist()}
    code = {suffix: place for place, suffix in enumerate(suffixes)}
    codes = [np.array([code[one] for one in part.suffixes.tolist()], np.uint16)[part.codes] for part in parts]
    return Samples(
        _one_behind_the_other([part.firsts for part in parts]),
        np.concatenate([part.begins for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate(codes),
        np.array(list(suffixes), np.str_),
        np.concatenate([part.keys for part in parts]),
        _one_behind_the_other([part.key_ends for part in parts]),
        np.sum([part.passed_over for part in parts], axis=0),
    )


def _one_behind_the_other(ends: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    lengths = np.concatenate([np.diff(one) for one in ends])
    return np.append(0, np.cumsum(lengths))


@dataclass
class _Growing:
    """An index in the making."""

    path: str
    firsts: array[int] = field(default_factory=lambda: array("q"))
    begins: array[int] = field(default_factory=lambda: array("q"))
    sizes: array[int] = field(default_factory=lambda: array("q"))
    codes: array[int] = field(default_factory=lambda: array("H"))
    hashes: array[int] = field(default_factory=lambda: array("q"))
    keys: bytearray = field(default_factory=bytearray)
    key_ends: array[int] = field(default_factory=lambda: array("q", [0]))
    suffixes: dict[str, int] = field(default_factory=dict)
    key: bytes = b""
    passed_over: int = 0

    def add(self, member: Member) -> None:
        """Take in the next member."""
        folder, slash, base = member.name.rpartition(b"/")
        stem, _, ending = base.partition(b".")
        if not stem or not ending:
            self.passed_over += 1
            return
        suffix = ending.decode(errors="surrogateescape").lower()
        code = self.suffixes.setdefault(suffix, len(self.suffixes))
        if code > np.iinfo(np.uint16).max:
            raise self._wrong(
                member, f"it is the {code + 1:,}th suffix: what follows a name's first dot names the field"
            )
        key = folder + slash + stem
        if key != self.key or not self.firsts:
            self.key = key
            self.firsts.append(len(self.begins))
            self.keys += key
            self.key_ends.append(len(self.keys))
            self.hashes.append(hash(key))
        elif code in self.codes[self.firsts[-1] :]:
            raise self._wrong(member, f"its sample has two members with the suffix {suffix!r}")
        self.begins.append(member.begin)
        self.sizes.append(member.size)
        self.codes.append(code)

    def _wrong(self, member: Member, what: str) -> ValueError:
        name = member.name.decode(errors="replace")
        return ValueError(f"{self.path}: member {name!r}, whose data begin at byte {member.begin:,}: {what}")

    def check_keys(self) -> None:
        """Make sure that the members of every sample lie together."""
        hashes = np.array(self.hashes, np.int64)
        order = hashes.argsort(kind="stable")
        for place in np.flatnonzero(np.diff(hashes[order]) == 0).tolist():
            one, other = int(order[place]), int(order[place + 1])
            keys = [bytes(self.keys[self.key_ends[at] : self.key_ends[at + 1]]) for at in (one, other)]
            if keys[0] == keys[1]:
                places = [self.begins[self.firsts[at]] for at in (one, other)]
                name = keys[0].decode(errors="replace")
                raise ValueError(
                    f"{self.path}: sample {name!r} is there twice, with data at byte {places[0]:,} and again at byte "
                    f"{places[1]:,}: the members of a sample must follow one another, so write the "
                    "archive with tar --sort=name"
                )


def index_of(members: Iterable[Member], path: str) -> Samples:
    """The samples of an archive.

    Args:
        members: its files, in their order.
        path: its name, for messages.

    Raises:
        ValueError: a sample has two members of one suffix, or its members do not lie together; file, member and offset
            are named.
    """
    index = _Growing(path)
    for member in members:
        index.add(member)
    index.check_keys()
    return Samples(
        np.append(np.array(index.firsts, np.int64), len(index.begins)),
        np.array(index.begins, np.int64),
        np.array(index.sizes, np.int64),
        np.array(index.codes, np.uint16),
        np.array(list(index.suffixes), np.str_),
        np.frombuffer(bytes(index.keys), np.uint8),
        np.array(index.key_ends, np.int64),
        np.array([index.passed_over], np.int64),
    )
