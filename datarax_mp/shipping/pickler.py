"""How a recipe is pickled: by value what workers cannot import, beside the pickle what is large."""

from __future__ import annotations

import io
import pickle
from functools import partial
from types import FunctionType
from typing import Any

from datarax_mp.core.pickling import Pickler, Reducer
from datarax_mp.core.strays import is_chance, is_from_handler
from datarax_mp.ring.segment import Segment
from datarax_mp.shipping import cached_functions, open_files
from datarax_mp.shipping.arrival import arrived, column_at
from datarax_mp.shipping.out_of_band import OutOfBand
from datarax_mp.sources.columns import ArrayColumn
from datarax_mp.sources.memory_source import MemorySource, place_together

_SMALL = 512  # bytes, below which a buffer of its own costs more than it saves


class _Beside:
    """What goes beside a pickle."""

    def __init__(self) -> None:
        self.parts: list[pickle.PickleBuffer | Segment] = []
        self._tokens: dict[int, tuple[pickle.PickleBuffer, Segment]] = {}

    def take(self, buffer: pickle.PickleBuffer) -> bool:
        """Whether a buffer is to be part of the pickle after all."""
        if id(buffer) in self._tokens:
            self.parts.append(self._tokens[id(buffer)][1])
            return False
        if buffer.raw().nbytes < _SMALL:
            return True
        self.parts.append(buffer)
        return False

    def reduce_segment(self, segment: Segment) -> Any:
        # Unpickling takes what stands in the buffer's place as it is, so that a segment can stand there.
        token = pickle.PickleBuffer(bytearray())
        self._tokens[id(token)] = (token, segment)
        return arrived, (token,)


class RecipePickler(Pickler):
    """Pickles a source and stages.

    Args:
        stream: where the pickle goes.
        without_handles: whether values of ``cached_property`` that do not pickle are left out, so that the worker makes
            its own. It means trying them one by one, and is for when all else has failed.

    Attributes:
        parts: what goes beside it, in the order in which unpickling asks for it: buffers, and segments, whose
            descriptors travel. One that is needed twice is there twice.
    """

    def __init__(self, stream: io.IOBase, *, without_handles: bool = False) -> None:
        self._beside = _Beside()
        super().__init__(stream, self._beside.take)
        self.parts = self._beside.parts
        self._without_handles = without_handles
        self._out_of_band = OutOfBand()
        self._recipe: Any = None

    def reducer_for(self, kind: type) -> Reducer | None:
        """See ``Pickler``."""
        if issubclass(kind, Segment):
            return self._beside.reduce_segment
        if issubclass(kind, MemorySource):
            return self._place
        if issubclass(kind, ArrayColumn):
            return _reduce_column
        if kind is FunctionType:
            return self._reduce_function
        reducer = (
            cached_functions.reducer_for(kind)
            or open_files.reducer_for(kind)
            or self._reducer_of_memory(kind)
            or super().reducer_for(kind)
        )
        if reducer is None and self._without_handles and (names := cached_functions.properties(kind)):
            return partial(cached_functions.reduce_without, names, _pickles)
        return reducer

    def dump(self, obj: Any) -> None:
        """Write the pickle of a recipe."""
        self._recipe = obj
        super().dump(obj)

    def _place(self, source: MemorySource) -> Any:
        # All that wait for it together, since each segment takes descriptors.
        place_together([source] if source.is_placed() else _sources(self._recipe, source))
        return NotImplemented

    def _reducer_of_memory(self, kind: type) -> Reducer | None:
        reducer = self._out_of_band.reducer_for(kind)
        if reducer is not None:
            self.modules.add(kind.__module__)  # what makes it again in the worker imports that
        return reducer

    def _reduce_function(self, function: FunctionType) -> Any:
        if cached_functions.is_dispatcher(function):
            reduced = cached_functions.reduce_dispatcher(function)
            if reduced is not NotImplemented:
                return reduced
        return self.reduce_definition(function)


def _reduce_column(column: ArrayColumn) -> Any:
    return NotImplemented if column.home is None else (column_at, (column.home,))


class _Finder(RecipePickler):
    """Finds the MemorySources in a recipe by pickling it without them."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.sources: dict[int, MemorySource] = {}

    def reducer_for(self, kind: type) -> Reducer | None:
        return self._note if issubclass(kind, MemorySource) else super().reducer_for(kind)

    def _note(self, source: MemorySource) -> Any:
        self.sources[id(source)] = source
        return arrived, (None,)


def _sources(recipe: Any, one: MemorySource) -> list[MemorySource]:
    """That one, and the others in the recipe as far as they are found."""
    finder = _Finder()
    try:
        finder.dump(recipe)
    except Exception:  # of which is told where the recipe itself is pickled
        if is_from_handler():
            raise
    return list({**finder.sources, id(one): one}.values())


def _pickles(value: Any) -> bool:
    try:
        RecipePickler(io.BytesIO(), without_handles=True).dump(value)
    except Exception:  # whatever it is, it is said of the recipe if that does not pickle without the value either
        if is_chance(lambda: RecipePickler(io.BytesIO(), without_handles=True).dump(value)):
            raise
        return False
    return True
