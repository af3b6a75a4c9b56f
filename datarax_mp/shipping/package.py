"""Serialising a program once for all workers.

    program --> pickle ---------------------------> first part of the segment   --- mapped by every worker,
                large memory, beside the pickle --> the rest of it              --/ copy-on-write
                what has a segment of its own ----> a descriptor (a MemorySource's columns outlive the program)
                what lies in a mapped file -------> its name, or a descriptor

So arrays, tensors, Arrow buffers and data frames exist once on the host however many workers there are, and yet behave
like a copy of one's own: what a worker writes to them, the others and main do not see. What is in the pickle itself
(lists of Python objects, text) every worker unpickles for itself; ``heavy`` tells the user when that is much.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Collection
from functools import partial
from typing import Any

from datarax_mp.core.compare import address_of, same_bytes
from datarax_mp.core.edits import code_version, trust_files
from datarax_mp.core.importable import unknown_to_workers
from datarax_mp.core.pickling import by_value
from datarax_mp.core.spec import align
from datarax_mp.core.strays import is_chance
from datarax_mp.crews.processes.protocol import Load
from datarax_mp.ring.segment import Segment
from datarax_mp.shipping import heavy
from datarax_mp.shipping.found_modules import Files, files_of
from datarax_mp.shipping.need import Need
from datarax_mp.shipping.pickler import ProgramPickler
from datarax_mp.shipping.snapshot import Snapshot
from datarax_mp.shipping.unpicklable import explain

log = logging.getLogger("datarax_mp")

_EDITED = (
    "edited since they were imported: %s. This process still runs the old code, but that cannot be sent to workers "
    "(%s), so they import the new. Reload the modules, or start anew"
)


class Shipment:
    """A serialised program, ready to be sent to any number of workers.

    Attributes:
        number: how messages call it.
        need: what loading it takes.

    Args:
        program: what to serialise.
        number: how messages call it.

    Raises:
        TypeError: something in it does not pickle; the message names the attribute.
        SharedMemoryError: there is too little shared memory for it.

    Attributes:
        number: see above.
        segments: the shared memory that it lies in.
        kinds: the types of the objects in it.
    """

    def __init__(self, program: Any, number: int) -> None:
        self.number = number
        self._code = code_version()
        self._snapshot = Snapshot.of(program)
        cargo = _Cargo(program)
        self._bind(cargo)
        self._spans, self._found, self.kinds = cargo.spans, cargo.found, cargo.kinds
        self.need = Need.of(number, cargo.modules, cargo.pieces[0][1].nbytes)
        heavy.tell(program, cargo.pieces[0][1].nbytes)
        payload = Segment.create(
            cargo.size, "the source and the stages", "Keep large data in a MemorySource or in np.memmap files"
        )
        memory = payload.map()
        for start, piece in cargo.pieces:
            memory[start : start + piece.nbytes] = piece
        self.segments = [payload, *cargo.segments]

    def holds(self, program: Any) -> bool:
        """Whether this is still what the program is, down to its code and to the bytes of its arrays.

        Raises:
            TypeError: it does not pickle any more.
        """
        if code_version() != self._code:
            return False
        payload, *others = self.segments
        memory = memoryview(payload.map())
        if self._snapshot is not None:
            if self._snapshot.same(memory):
                return True
            self._snapshot = Snapshot.of(program)
        cargo = _Cargo(program)
        if (cargo.spans, cargo.found) != (self._spans, self._found) or not all(
            one is other or os.path.samestat(os.fstat(one.fd), os.fstat(other.fd))
            for one, other in zip(cargo.segments, others, strict=True)
        ):
            return False
        self._bind(cargo)
        return all(same_bytes(piece, memory[start : start + piece.nbytes]) for start, piece in cargo.pieces)

    def _bind(self, cargo: _Cargo) -> None:
        if self._snapshot is not None and not self._snapshot.bind(cargo.addresses()):
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
        return Load(self.number, sizes, tuple(self._spans), probe, self._found, template)


class _Cargo:
    """A pickled program, and where each part of it lies.

    Attributes:
        pieces: what the first segment is filled with, the pickle first, and where each piece begins.
        size: bytes of that segment.
        spans: as in ``Load``.
        segments: those that come along.
        found: the modules that workers are to be told of.
        modules: those that they import.
        kinds: the types of the objects in the program.
    """

    def __init__(self, program: Any) -> None:
        pickler, pickled, self.found = _pickled(program)
        parts, self.modules, self.kinds = pickler.parts, pickler.modules, pickler.kinds
        self.segments: list[Segment] = []
        self.pieces: list[tuple[int, memoryview]] = []
        self.size = 0
        self.spans = [self._add(pickled)]
        known: dict[int, tuple[int, int]] = {}
        for part in parts:
            if id(part) not in known:
                known[id(part)] = self._add(part if isinstance(part, Segment) else part.raw())
            self.spans.append(known[id(part)])

    def addresses(self) -> dict[tuple[int, int], int]:
        """Where each piece begins, by its address in this process and its bytes."""
        return {(address_of(piece), piece.nbytes): start for start, piece in self.pieces}

    def _add(self, part: memoryview | Segment) -> tuple[int, int]:
        if isinstance(part, Segment):
            self.segments.append(part)
            return -len(self.segments), 0
        start = self.size
        self.pieces.append((start, part))
        self.size += align(part.nbytes)
        return start, part.nbytes


def _pickled(program: Any) -> tuple[ProgramPickler, memoryview, Files]:
    """The pickler with what goes beside the pickle, the pickle, and the modules that workers are to be told of."""
    for without_handles in (False, True):
        attempt = partial(_attempt, program, without_handles=without_handles)
        try:
            pickler, pickle_, unknown = attempt()
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if is_chance(attempt):
                raise
            if without_handles:
                if not (edited := trust_files()):
                    raise TypeError(explain(program, error)) from error
                log.warning(_EDITED, ", ".join(edited), error)
                return _pickled(program)
        else:
            break
    # Those that are not the main script alone: then functions may import still more of them.
    found = files_of(unknown_to_workers()) if set(unknown) - {"__main__", "__mp_main__"} else {}
    return pickler, pickle_, found


def _attempt(program: Any, *, without_handles: bool) -> tuple[ProgramPickler, memoryview, Collection[str]]:
    pickler = ProgramPickler(stream := io.BytesIO(), without_handles=without_handles)
    with by_value() as unknown:
        pickler.dump(program)
    return pickler, stream.getbuffer(), unknown
