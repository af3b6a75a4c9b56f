"""Reading what a cache keeps: records, or items, as they come out of the stages before it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from datarax_mp.core.errors import one_line
from datarax_mp.core.record import RecordError
from datarax_mp.core.refusals import is_refusal
from datarax_mp.core.strays import claim, is_interruption
from datarax_mp.recipe.randomness import can_glance, glance, imported
from datarax_mp.recipe.reading import Reader, Together
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import here
from datarax_mp.sources.records import Records

if TYPE_CHECKING:
    from datarax_mp.cache.packing import Bytes
    from datarax_mp.cache.store import Store

log = logging.getLogger("datarax_mp")


class CachedReader(Reader):
    """Reads as another reader does, unless the record is kept.

    What it gives has always been packed and unpacked, so that a record is the same object, as far as anybody can see,
    whether it was kept or has just been computed.

    Args:
        recipe: has a cache.
        reader: reads.
        finish: what the stages between it and the cache make of what it reads, by number and record.
    """

    def __init__(self, recipe: Recipe, reader: Reader, finish: Callable[[int, Any], Any]) -> None:
        super().__init__(recipe)
        from datarax_mp.cache.packing import pack, unpack  # delayed: only where there is a cache

        assert recipe.cache is not None
        self._home, self._reader, self._finish = recipe.cache, reader, finish
        self._pack, self._unpack = pack, unpack
        self._key: str | None = None
        self._kept: Store | None = None

    @property
    def many(self) -> bool:
        """See ``Reader``."""
        return self._reader.many

    def expect(self, numbers: list[int]) -> None:
        """See ``Reader``."""
        self._reader.expect(numbers)

    def one(self, number: int) -> Any:
        """See ``Reader``."""
        return self.kept_or(number, lambda: self._reader.one(number))

    def together(self, numbers: NDArray[np.int64]) -> Together | None:
        """See ``Reader``."""
        if not self._reader.many:
            return None
        wanted, store = numbers.tolist(), self._store()
        lacking = wanted if store is None else [number for number in wanted if not _has(store, number)]
        found = self._reader.together(np.array(lacking)) if lacking else ()
        if found is None:
            return None
        return _Together(self, wanted, found, {number: place for place, number in enumerate(lacking)})

    def kept_or(self, number: int, read: Callable[[], Any]) -> Any:
        """A record that is kept; or else what is read now, and the stages make of it, kept from now on.

        Raises:
            RecordError: it does not pickle, or what is read or computed has drawn random numbers.
        """
        store = self._store()
        if store is not None and (packed := _get(store, number)) is not None:
            here.read(number)
            try:
                record = self._unpack(packed)
            except Exception as error:
                if is_interruption(error):
                    raise
                log.debug("record %s is computed anew: it does not unpickle: %r", number, error)
            else:
                here.hits += 1
                return record
        record, alike = self._computed(number, read)
        packed = self._packed(number, record)
        if store is not None:
            here.misses += 1
            if alike:
                store.put(int(number), packed)
        return self._unpack(packed)

    def _computed(self, number: int, read: Callable[[], Any]) -> tuple[Any, bool]:
        """A record, and whether it is known to be the same every time."""
        # In a thread others may draw meanwhile; for what does so itself, that is forbidden anyway.
        watch = threading.current_thread() is threading.main_thread() and can_glance()
        libraries, before = imported(), glance() if watch else None
        record = self._finish(number, read())
        if imported() != libraries:
            return record, False
        if watch and glance() != before:
            error = RecordError(
                f"record {number}: what stands before Cache has drawn from a global random generator (np.random, "
                "random, torch), and is computed once. Put what is random behind it: RandomMapElement(fn), whose fn "
                "gets a generator"
            )
            claim(error)
            raise error
        return record, True

    def _packed(self, number: int, record: Any) -> Bytes:
        try:
            return self._pack(record)
        except Exception as error:
            if is_interruption(error):
                raise
            raise RecordError(
                f"record {number}: Cache cannot keep it: expected values that pickle, found {one_line(error)}"
            ) from error

    def _store(self) -> Store | None:
        if self._key != self._home.key:
            self._kept = self._home.store()
            self._key = self._home.key
        return self._kept


class _Together(Records):
    """Records of a batch: those that are kept are read when their turn comes."""

    def __init__(self, reader: CachedReader, wanted: list[int], found: Any, places: Mapping[int, int]) -> None:
        self._reader, self._wanted, self._found, self._places = reader, wanted, found, places

    @property
    def nbytes(self) -> int:
        """See ``Records``."""
        return 0

    def __len__(self) -> int:
        return len(self._wanted)

    def __getitem__(self, place: int) -> Any:
        number = self._wanted[place]
        at = self._places.get(number)
        if at is None:
            return self._reader.one(number)
        return self._reader.kept_or(number, lambda: self._found[at])


def _has(store: Store, number: int) -> bool:
    try:
        return store.has(number)
    except OSError as error:
        if not is_refusal(error):
            raise
        return False


def _get(store: Store, number: int) -> Bytes | None:
    try:
        return store.get(int(number))
    except OSError as error:  # other code has closed the descriptor, say
        if not is_refusal(error):
            raise
        return None
