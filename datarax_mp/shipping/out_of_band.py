"""Large memory inside a user's objects travels beside the pickle, once for all workers.

    array, tensor, Arrow buffer --- in a mapped file ----> the file's name (or a descriptor): mapped by every worker
                                --- in ordinary memory --> a buffer: copied into the recipe's segment, mapped by
                                                           every worker copy-on-write

Copy-on-write: a worker sees what main had when the recipe was serialised, exists once on the host, and what a worker
writes is its own, as if it had a copy. A file that main has mapped with mode "r+" is the file in the workers, too.

What is rebuilt has the type, the strides and the flags of the original. Views are serialised each for itself, as pickle
always does: of two that overlap, neither sees what is written to the other.
"""

from __future__ import annotations

import ctypes
import mmap
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from datarax_mp.core.strays import is_from_handler
from datarax_mp.ring.mapped import MappedFile, Mappings, Place, is_mapped

Reducer: TypeAlias = Callable[[Any], Any]
Buffer: TypeAlias = Any  # what has the buffer protocol

_LARGE = 1 << 16  # bytes, from which on foreign memory is looked up among the mapped files


class OutOfBand:
    """Reduces large memory for one pickle."""

    def __init__(self) -> None:
        self._mappings: Mappings | None = None
        self._buffers: dict[tuple[int, int], pickle.PickleBuffer] = {}
        self._files: dict[MappedFile, _Whole] = {}

    def reducer_for(self, kind: type) -> Reducer | None:
        """How objects of this type are reduced, or None if they hold no memory that is known here."""
        if issubclass(kind, np.ndarray):
            if kind is np.ma.MaskedArray:
                return _reduce_masked
            own = any(getattr(kind, name) is not getattr(np.ndarray, name) for name in _PICKLING)
            return None if own else self._reduce_array
        if kind is _Whole:
            return _reduce_whole
        if kind is mmap.mmap:
            return self._reduce_mmap
        library = str(getattr(kind, "__module__", "")).partition(".")[0]
        if library == "torch" and kind.__name__ == "Tensor":
            return self._reduce_tensor
        if library == "jaxlib" and kind.__name__ == "ArrayImpl":
            return _reduce_jax
        if library == "pyarrow" and kind.__name__ in ("Buffer", "ResizableBuffer"):
            return self._reduce_arrow
        if library == "polars" and kind.__name__ in ("DataFrame", "Series"):
            return _reduce_polars
        return None

    def _reduce_array(self, array: np.ndarray) -> Any:
        kind, dtype = type(array), array.dtype
        plain, foreign = kind is np.ndarray, is_mapped(array)
        if dtype.hasobject or not dtype.itemsize or (plain and not array.size):
            return NotImplemented
        if plain and not foreign and array.nbytes < _LARGE:
            return NotImplemented  # NumPy's own way, which for small arrays is quicker
        # What the subclass, which has no way of its own, keeps beside the values.
        extra = {name: value for name, value in getattr(array, "__dict__", {}).items() if name != "_mmap"}
        writeable = array.flags.writeable
        low, high = np.lib.array_utils.byte_bounds(array)
        place = self._place(low, high - low) if foreign else None
        if place is None and high - low > array.nbytes:  # with gaps, which need not travel
            array = np.array(array, order="K", subok=True)
            low, high = np.lib.array_utils.byte_bounds(array)
        start = array.__array_interface__["data"][0] - low
        memory: Buffer = self._memory(low, high - low, array) if place is None else self._whole(place.file)
        if place is not None:
            start += place.offset
        return _array, (kind, memory, array.shape, dtype, start, array.strides, writeable, extra)

    def _reduce_tensor(self, tensor: Any) -> Any:
        import torch

        strided = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_quantized
        if not strided or not tensor.numel() or tensor.is_conj() or tensor.is_neg() or tensor.grad_fn is not None:
            return NotImplemented
        if vars(tensor) or tensor._backward_hooks:
            return NotImplemented
        size = tensor.element_size()
        length = (1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))) * size
        address = tensor.data_ptr()
        strides = tensor.stride()
        place = self._place(address, length) if length >= _LARGE else None
        if place is None and length > tensor.numel() * size:
            tensor = tensor.contiguous()
            address, length, strides = tensor.data_ptr(), tensor.numel() * size, tensor.stride()
        if place is None:
            memory: Any = self._memory(address, length, tensor)
        else:  # no tensor is read-only: where the file is, what a worker writes is its own
            memory = self._whole(replace(place.file, mode="c") if place.file.mode == "r" else place.file)
        offset = 0 if place is None else place.offset
        return _tensor, (memory, offset, length, tensor.dtype, tuple(tensor.shape), strides, tensor.requires_grad)

    def _reduce_arrow(self, buffer: Any) -> Any:
        if not buffer.is_cpu or buffer.size < _LARGE or (place := self._place(buffer.address, buffer.size)) is None:
            return NotImplemented  # Arrow's own way is out of band
        return _arrow, (self._whole(place.file), place.offset, buffer.size)

    def _reduce_mmap(self, mapped: mmap.mmap) -> Any:
        view = np.frombuffer(mapped, np.uint8)
        place = self._place(view.__array_interface__["data"][0], view.nbytes)
        if place is None:
            return NotImplemented
        return _mmap, (place.file, place.offset, len(mapped), mapped.tell())

    def _place(self, address: int, size: int) -> Place | None:
        if self._mappings is None:
            self._mappings = Mappings()
        return self._mappings.place(address, size)

    def _whole(self, file: MappedFile) -> _Whole:
        return self._files.setdefault(file, _Whole(file))

    def _memory(self, address: int, size: int, owner: Any) -> pickle.PickleBuffer:
        """The bytes as a buffer; the same one for the same bytes, so that they travel once."""
        found = self._buffers.get((address, size))
        if found is None:
            memory: Any = (ctypes.c_ubyte * size).from_address(address)
            memory.owner = owner  # so that it lives as long as the buffer
            found = self._buffers[address, size] = pickle.PickleBuffer(memory)
        return found


_PICKLING = ("__reduce__", "__reduce_ex__", "__setstate__", "__getstate__")


def _array(
    kind: type[np.ndarray],
    memory: Buffer,
    shape: tuple[int, ...],
    dtype: np.dtype,
    offset: int,
    strides: tuple[int, ...],
    writeable: bool,
    extra: dict[str, Any],
) -> np.ndarray:
    array = np.ndarray.__new__(kind, shape, dtype, memory, offset, strides)
    if not writeable:
        array.flags.writeable = False
    if isinstance(memory, mmap.mmap) and isinstance(array, np.memmap):
        array._mmap = memory  # type: ignore[attr-defined]
    if extra:
        vars(array).update(extra)
    return array


def _reduce_masked(array: np.ma.MaskedArray) -> Any:
    if array.dtype.hasobject or type(array.data) is not np.ndarray:
        return NotImplemented
    extra = dict(getattr(array, "_optinfo", {}))
    return _masked, (array.data, array.mask, array.fill_value, array.hardmask, extra)


def _masked(data: np.ndarray, mask: Any, fill_value: Any, hard: bool, extra: dict[str, Any]) -> np.ma.MaskedArray:
    array: np.ma.MaskedArray = np.ma.MaskedArray(data, mask=mask, fill_value=fill_value, hard_mask=hard)
    array._optinfo.update(extra)  # type: ignore[attr-defined]
    return array


def _tensor(
    memory: Buffer,
    offset: int,
    length: int,
    dtype: Any,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    requires_grad: bool,
) -> Any:
    import torch

    flat = torch.frombuffer(memory, dtype=dtype, offset=offset, count=length // dtype.itemsize)
    tensor = flat.as_strided(shape, strides)
    return tensor.requires_grad_() if requires_grad else tensor


def _reduce_jax(array: Any) -> Any:
    """By way of NumPy, which shares its memory on the CPU; JAX itself would write everything into the pickle."""
    if array.nbytes < _LARGE or array.weak_type or not isinstance(array.dtype, np.dtype):  # keys have a type of JAX's
        return NotImplemented
    return (_jax, (np.asarray(array),)) if array.is_fully_addressable else NotImplemented


def _jax(values: np.ndarray) -> Any:
    import jax

    return jax.device_put(values)


def _arrow(memory: Buffer, offset: int, size: int) -> Any:
    import pyarrow

    return pyarrow.py_buffer(memory).slice(offset, size)


@dataclass(frozen=True)
class _Whole:
    """Arrives as the mapping of a whole file, the same one for all that lies in it."""

    file: MappedFile


def _reduce_whole(whole: _Whole) -> Any:
    return MappedFile.open, (whole.file,)


def _mmap(file: MappedFile, offset: int, size: int, at: int) -> mmap.mmap:
    mapped = file.open(offset, size)
    mapped.seek(at)
    return mapped


def _reduce_polars(frame: Any) -> Any:
    """By way of Arrow, which shares polars' memory; polars itself would write everything into the pickle."""
    if frame.estimated_size() < _LARGE:
        return NotImplemented
    import polars

    try:
        arrow = frame.to_arrow(compat_level=polars.CompatLevel.newest())
        again = polars.from_arrow(arrow)
    except Exception:  # no pyarrow, or a type that Arrow does not have
        if is_from_handler():
            raise
        return NotImplemented
    if isinstance(frame, polars.Series):
        return (_series, (arrow, frame.name)) if again.dtype == frame.dtype else NotImplemented  # type: ignore[union-attr]
    return (_frame, (arrow,)) if again.schema == frame.schema else NotImplemented  # type: ignore[union-attr]


def _frame(arrow: Any) -> Any:
    import polars

    return polars.from_arrow(arrow)


def _series(arrow: Any, name: str) -> Any:
    return _frame(arrow).alias(name)
