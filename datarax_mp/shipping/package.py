"""Serialising a recipe once for all workers.

    recipe ---> pickle ---------------------------> first part of the segment   --- mapped by every worker,
                large memory, beside the pickle --> the rest of it              --/ copy-on-write
                what has a segment of its own ----> a descriptor (a MemorySource's columns outlive the recipe)
                what lies in a mapped file -------> its name, or a descriptor

So arrays, tensors, Arrow buffers and data frames exist once on the host however many workers there are, and yet behave
like a copy of one's own: what a worker writes to them, the others and main do not see. What is in the pickle itself
(lists of Python objects, text) every worker unpickles for itself; ``heavy`` tells the user when that is much.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
from collections.abc import Collection
from functools import partial
from typing import Any

from datarax_mp.core.compare import address_of, same_bytes
from datarax_mp.core.edits import code_version, trust_files
from datarax_mp.core.importable import unknown_to_workers
from datarax_mp.core.pickling import by_value
from datarax_mp.core.spec import align
from datarax_mp.core.strays import claim, is_chance
from datarax_mp.ring.segment import Segment
from datarax_mp.shipping import heavy
from datarax_mp.shipping.arrival import gather
from datarax_mp.shipping.found_modules import Files, files_of
from datarax_mp.shipping.load import Load, Part
from datarax_mp.shipping.need import Need
from datarax_mp.shipping.pickler import RecipePickler
from datarax_mp.shipping.snapshot import Snapshot
from datarax_mp.shipping.unpicklable import explain

log = logging.getLogger("datarax_mp")

_EDITED = (
    "edited since they were imported: %s. This process still runs the old code, but that cannot be sent to workers "
    "(%s), so they import the new. Reload the modules, or start anew"
)


class SerializedRecipe:
    """A serialised recipe, ready to be sent to any number of workers.

    Attributes:
        recipe_id: how messages call it.
        need: what loading it takes.

    Args:
        recipe: what to serialise.
        recipe_id: how messages call it.

    Raises:
        TypeError: something in it does not pickle; the message names the attribute.
        SharedMemoryError: there is too little shared memory for it.

    Attributes:
        recipe_id: see above.
        segments: the shared memory that it lies in.
        kinds: the types of the objects in it.
    """

    def __init__(self, recipe: Any, recipe_id: int) -> None:
        self.recipe_id = recipe_id
        self._code = code_version()
        self._snapshot = Snapshot.of(recipe)
        pickled = _Pickled(recipe)
        self._bind(pickled)
        self._parts, self._found, self.kinds = pickled.parts, pickled.found, pickled.kinds
        self.need = Need.of(recipe_id, pickled.modules, pickled.pickle_bytes)
        heavy.tell(recipe, pickled.pickle_bytes)
        own = Segment.create(
            pickled.size, "the source and the stages", "Keep large data in a MemorySource or in np.memmap files"
        )
        pickled.write(own.map())
        self.segments = [own, *pickled.segments]

    def holds(self, recipe: Any) -> bool:
        """Whether this is still what the recipe is, down to its code and to the bytes of its arrays.

        Raises:
            TypeError: it does not pickle any more.
        """
        if code_version() != self._code:
            return False
        own, *others = self.segments
        memory = memoryview(own.map())
        if self._snapshot is not None:
            if self._snapshot.same(memory):
                return True
            self._snapshot = Snapshot.of(recipe)
        pickled = _Pickled(recipe)
        if (pickled.parts, pickled.found) != (self._parts, self._found) or not all(
            one is other or os.path.samestat(os.fstat(one.fd), os.fstat(other.fd))
            for one, other in zip(pickled.segments, others, strict=True)
        ):
            return False
        self._bind(pickled)
        return pickled.is_in(memory)

    def _bind(self, pickled: _Pickled) -> None:
        if self._snapshot is not None and not self._snapshot.bind(pickled.addresses()):
            self._snapshot = None

    def intact(self) -> bool:
        """Whether it can still be sent; other code may have closed descriptors that it does not know."""
        return all(segment.intact() for segment in self.segments)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that go with the message."""
        return tuple(segment.descriptor() for segment in self.segments)

    def message(self, *, probe: int | None, template: bool = False) -> Load:
        """The message that makes a worker load it; ``probe`` as in ``Load``."""
        sizes = tuple(segment.size for segment in self.segments)
        return Load(self.recipe_id, sizes, tuple(self._parts), probe, self._found, template)

    def copied(self) -> Any:
        """The recipe as a worker would have it, in this process: a copy of all that the user's code may change.

        Raises:
            Exception: what the user's objects raise when they are made; it is claimed.
        """
        own, *others = self.segments
        parts = gather(self._parts, memoryview(own.map(private=True)), others)
        try:
            return pickle.loads(parts[0], buffers=parts[1:])
        except Exception as error:
            claim(error)
            raise


class _Pickled:
    """A recipe's pickle with what goes beside it, and where each part of that is to lie.

    Attributes:
        buffers: what the recipe's own segment is filled with, the pickle first, and where each buffer begins.
        size: bytes of that segment.
        segments: the others, which come along.
        parts: as in ``Load``.
        found: the modules that workers are to be told of.
        modules: those that they import.
        kinds: the types of the objects in the recipe.
    """

    def __init__(self, recipe: Any) -> None:
        pickler, pickled, self.found = _pickled(recipe)
        self.modules, self.kinds = pickler.modules, pickler.kinds
        self.buffers: list[tuple[int, memoryview]] = []
        self.size = 0
        self.segments: list[Segment] = []
        self.parts = [self._add(pickled)]
        known: dict[int, Part] = {}
        for part in pickler.parts:
            if id(part) not in known:
                known[id(part)] = self._add(part if isinstance(part, Segment) else part.raw())
            self.parts.append(known[id(part)])

    def _add(self, part: memoryview | Segment) -> Part:
        if isinstance(part, Segment):
            self.segments.append(part)
            return Part(len(self.segments), 0, part.size)
        start = self.size
        self.buffers.append((start, part))
        self.size += align(part.nbytes)
        return Part(0, start, part.nbytes)

    @property
    def pickle_bytes(self) -> int:
        """How large the pickle alone is."""
        return self.parts[0].size

    def addresses(self) -> dict[tuple[int, int], int]:
        """Where each buffer begins, by its address in this process and its bytes."""
        return {(address_of(buffer), buffer.nbytes): start for start, buffer in self.buffers}

    def write(self, memory: Any) -> None:
        """Fill the recipe's own segment."""
        for start, buffer in self.buffers:
            memory[start : start + buffer.nbytes] = buffer

    def is_in(self, memory: memoryview) -> bool:
        """Whether it is what that segment holds."""
        return all(same_bytes(buffer, memory[start : start + buffer.nbytes]) for start, buffer in self.buffers)


def _pickled(recipe: Any) -> tuple[RecipePickler, memoryview, Files]:
    """The pickler with what goes beside the pickle, the pickle, and the modules that workers are to be told of."""
    for without_handles in (False, True):
        attempt = partial(_attempt, recipe, without_handles=without_handles)
        try:
            pickler, pickle_, unknown = attempt()
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if is_chance(attempt):
                raise
            if without_handles:
                if not (edited := trust_files()):
                    raise TypeError(explain(recipe, error)) from error
                log.warning(_EDITED, ", ".join(edited), error)
                return _pickled(recipe)
        else:
            break
    # Those that are not the main script alone: then functions may import still more of them.
    found = files_of(unknown_to_workers()) if set(unknown) - {"__main__", "__mp_main__"} else {}
    return pickler, pickle_, found


def _attempt(recipe: Any, *, without_handles: bool) -> tuple[RecipePickler, memoryview, Collection[str]]:
    pickler = RecipePickler(stream := io.BytesIO(), without_handles=without_handles)
    with by_value() as unknown:
        pickler.dump(recipe)
    return pickler, stream.getbuffer(), unknown
