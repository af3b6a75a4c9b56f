"""Cache: what comes before it is computed once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from datarax_mp.core.integers import integer
from datarax_mp.stages.base import Rank, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache(Stage):
    """Keep what comes out of the stages before it, and of reading, so that it is computed once.

    Without a folder, records are kept in memory that all workers share, for as long as a pipeline lives that has them:
    over epochs, and for pipelines of this process that need the same. In a folder they are kept for other processes
    and the next run, too, which may all use it at the same time. The stream is the same as without it, bit by bit; so
    are states, and a cache may be put in or taken out between two runs of which one goes on with the other's state.

    **What may come before it.** Only what gives the same every time: a random stage, a random generator, code that
    draws from the global ones, and what listens to ``set_epoch`` are errors there; behind it they are welcome. A
    record for which something is raised is not kept.

    **When it is computed anew.** Records are found by a fingerprint of the source, its content or its files (their
    sizes and times of change), the stages before this one, and all code of the user's that these refer to or import
    when they run; it is taken when an epoch begins, at 5 to 8 µs a file, arrays as quickly as memory is read. An edited
    function, another argument, a changed file, an upgraded package: the records are others' then, and are computed
    again. A source of the user's own says by a method ``data_files()`` which files it reads; those that it holds as
    ``pathlib.Path``, or open for reading, are looked at without that. Of a folder all files count, up to 100,000, but
    not those in hidden folders, so what a run writes is to lie elsewhere. A file that is opened when it is first needed
    would count from then on: let a ``functools.cached_property`` open it, which does not count. What none of these
    shows (a database on a server, an address, a module that is imported by ``importlib``) is for the user: use another
    folder.

    **Budget.** When it is used up, further records are computed every time, and what is there stays. In a folder,
    what belongs to other fingerprints and is in use by nobody makes room first, the longest unused before others.
    Files may exceed it by 40 bytes a record. In memory it has to be there: nobody looks whether the machine has it.

    **What goes wrong.** A folder that cannot be made or written to is an error when the pipeline is made. A disk that
    is full, or a folder that is removed, while it is used: one warning in each process, and records are computed as
    without a cache. A process that is killed in the middle of writing leaves nothing that anybody would read.

    Records are kept as pickles, so a folder is to be trusted like code; it is made for this user alone. Arrays are
    writeable. It needs ``pip install "datarax-mp[cache]"``, and POSIX. With ``workers="ray"``, which have neither this
    memory nor this folder, and with an ``IterableSource``, whose records have no numbers, it is a ValueError.

    Attributes:
        folder: where, or None for memory; ``~`` is the home folder.
        budget: bytes that may be taken there.
        compress: Zstandard's level (1 is quick, 3 usual, 19 small), or None to keep records as they are.

    >>> import tempfile
    >>> from datarax_mp import Pipeline
    >>> reads = []
    >>> def slow(record):
    ...     print("computed", int(record["x"]))
    ...     return {"x": record["x"] + 1}
    >>> folder = tempfile.TemporaryDirectory()
    >>> cache = Cache(folder=folder.name, budget=1_000_000)
    >>> pipeline = Pipeline(source={"x": [1, 2]}, batch_size=2, stages=[slow, cache], output="numpy")
    >>> [batch["x"].tolist() for epoch in range(2) for batch in pipeline]
    computed 1
    computed 2
    [[2, 3], [2, 3]]
    >>> folder.cleanup()
    """

    rank = Rank.RECORD

    folder: str | os.PathLike[str] | None = None
    budget: int
    compress: int | None = None

    @property
    def name(self) -> str:
        """How messages call it."""
        return "Cache"

    def check(self, where: str) -> None:
        """See ``Stage``.

        Raises:
            TypeError: an attribute is of the wrong kind.
            ValueError: it is out of range.
            ImportError: what it needs is not installed.
            OSError: the folder cannot be written to.
        """
        integer(f"{where}: budget", self.budget, least=1)
        if self.compress is not None and not 1 <= integer(f"{where}: compress", self.compress, least=1) <= 22:
            raise ValueError(f"{where}: compress must be one of Zstandard's levels, 1 to 22, got {self.compress}")
        if self.folder is not None and not isinstance(self.folder, (str, os.PathLike)):
            raise TypeError(f"{where}: folder must be a path, got {self.folder!r} of type {type(self.folder).__name__}")
        from datarax_mp.cache.home import check  # delayed: it needs xxhash, which may be missing

        check(self)

    @property
    def path(self) -> str | None:
        """The folder, absolute; a worker may have another working directory."""
        return None if self.folder is None else os.path.abspath(os.path.expanduser(os.fspath(self.folder)))


class Placed(NamedTuple):
    """A cache among stages.

    Attributes:
        cache: the stage.
        before: how many host stages come before it.
    """

    cache: Cache
    before: int


def taken_out(host: Sequence[Any]) -> tuple[tuple[Stage, ...], Placed | None]:
    """The host stages without the cache, and that: it changes no record, so it does not count among them.

    Raises:
        ValueError: there are two, or it comes behind a random stage.
    """
    found = [place for place, stage in enumerate(host) if isinstance(stage, Cache)]
    if not found:
        return tuple(host), None
    place = found[0]
    if len(found) > 1:
        raise ValueError(f"there are {len(found)} Cache among the stages: the last one alone saves as much")
    if random := [stage for stage in host[:place] if stage.random]:
        raise ValueError(
            f"Cache comes after the random stage {random[0].name}, which would give the same in every epoch. Put it "
            "before all random stages"
        )
    return (*host[:place], *host[place + 1 :]), Placed(host[place], place)
