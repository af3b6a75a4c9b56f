"""Serialising a program once for all workers.

The program is pickled by value (cloudpickle: functions and classes of the main script, lambdas) into one shared
segment. Large buffers, such as the arrays a data set of the user's own holds, are not part of the pickle: they lie
beside it and are mapped by every worker copy-on-write, so that they exist once and yet behave like a copy of one's own.
A MemorySource's columns have a segment that outlives the program, and are referred to by its descriptor.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Sequence
from types import CodeType
from typing import Any

import cloudpickle

from datarax_mp.core.spec import align
from datarax_mp.ring.segment import Segment
from datarax_mp.sources.columns import ArrayColumn
from datarax_mp.sources.memory import MemorySource
from datarax_mp.workers.protocol import Load


class Shipment:
    """A serialised program, ready to be sent to any number of workers.

    Args:
        program: what to serialise.
        number: how messages call it.

    Raises:
        TypeError: something in it does not pickle; the message names the attribute.
        SharedMemoryError: there is too little shared memory for it.
    """

    def __init__(self, program: Any, number: int) -> None:
        self.number = number
        buffers: list[pickle.PickleBuffer] = []
        pickler = _Pickler(stream := io.BytesIO(), buffers)
        try:
            pickler.dump(program)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise TypeError(_explain(program, error)) from error
        pieces = [stream.getbuffer(), *(buffer.raw() for buffer in buffers)]
        self._spans: list[tuple[int, int]] = []
        start = 0
        for piece in pieces:
            self._spans.append((start, piece.nbytes))
            start += align(piece.nbytes)
        payload = Segment.create(
            start, "the source and the stages", "Keep large data in a MemorySource or in np.memmap files"
        )
        memory = payload.map()
        for piece, (start, size) in zip(pieces, self._spans, strict=True):
            memory[start : start + size] = piece
        self.segments = [payload, *pickler.segments]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that go with the message."""
        return tuple(segment.fd for segment in self.segments)

    def message(self, *, probe: bool) -> Load:
        """The message that makes a worker load it."""
        sizes = tuple(segment.size for segment in self.segments)
        return Load(self.number, sizes, tuple(self._spans), probe, tuple(sys.path), _working_directory())


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody has deleted it; relative paths lead nowhere in the calling process either
        return None


def unpack(message: Load, descriptors: Sequence[int]) -> Any:
    """Make the program out of what arrived, in the worker."""
    payload, *others = [Segment(fd, size) for fd, size in zip(descriptors, message.sizes, strict=True)]
    memory = memoryview(payload.map(private=True))
    pickled, *buffers = [memory[start : start + size] for start, size in message.spans]
    payload.close()  # the mapping lives on in the buffers
    return _Unpickler(io.BytesIO(pickled), others, buffers).load()


class _Pickler(cloudpickle.Pickler):
    def __init__(self, stream: io.BytesIO, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(stream, protocol=5, buffer_callback=buffers.append)
        self.segments: list[Segment] = []

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, Segment):
            return None
        if obj not in self.segments:
            self.segments.append(obj)
        return self.segments.index(obj)

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, CodeType):
            return _reduce_code(obj)
        if isinstance(obj, MemorySource):
            obj.place()
        elif isinstance(obj, ArrayColumn) and obj.home is not None:
            return ArrayColumn.at, (obj.home,)
        return super().reducer_override(obj)


def _reduce_code(code: CodeType) -> Any:
    # cloudpickle from 3.1.3 on replaces the file's name, and tracebacks from workers would show no source lines.
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return make, tuple(code.co_filename if item == "<dynamic-code>" else item for item in arguments)


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, segments: list[Segment], buffers: list[memoryview]) -> None:
        super().__init__(stream, buffers=buffers)
        self._segments = segments

    def persistent_load(self, pid: int) -> Segment:
        return self._segments[pid]


def _explain(program: Any, error: Exception) -> str:
    """Find the attribute that does not pickle, however deep it lies in the source or in a stage."""
    named = {"source": program.source}
    named |= {f"stages[{place}]": stage for place, stage in enumerate(program.stages)}
    for name, value in named.items():
        if not _pickles(value):
            where, culprit = _culprit(f"{name} ({type(value).__name__})", value, depth=0)
            return (
                f"{where} cannot be sent to worker processes: an object of type {type(culprit).__name__} does not "
                f"pickle ({error}). Make it in the worker, when it is first used; or leave it out of __getstate__; or "
                "use num_workers=0"
            )
    return f"the pipeline cannot be sent to worker processes: {error}"


def _culprit(name: str, value: Any, depth: int) -> tuple[str, Any]:
    inside: dict[str, Any] = {}
    if hasattr(value, "__dict__") and not isinstance(value, type):
        inside |= {f"{name}.{key}": item for key, item in vars(value).items()}
    closure = getattr(value, "__closure__", None) or ()
    for variable, cell in zip(getattr(getattr(value, "__code__", None), "co_freevars", ()), closure, strict=False):
        inside[f"{name}, variable '{variable}'"] = cell.cell_contents
    if callable(fn := getattr(value, "fn", None)):
        inside[f"{name}.fn"] = fn
    if isinstance(value, dict):
        inside |= {f"{name}[{key!r}]": item for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        inside |= {f"{name}[{place}]": item for place, item in enumerate(value)}
    for where, item in inside.items():
        if depth < 8 and not _pickles(item):
            return _culprit(where, item, depth + 1)
    return name, value


def _pickles(value: Any) -> bool:
    try:
        _Pickler(io.BytesIO(), []).dump(value)
    except Exception:
        return False
    return True
