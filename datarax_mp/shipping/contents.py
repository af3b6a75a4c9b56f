"""Arrays and tensors: whether they still have the form and the bytes that they had."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np

from datarax_mp.core.compare import address_of, same_bytes
from datarax_mp.ring.mapped import is_mapped

_LARGE = 1 << 16  # bytes, from which on they are compared with what was sent and not copied

Sent = Mapping[tuple[int, int], int]
"""Where in the segment the memory lies that has an address and a size."""


class OpaqueError(Exception):
    """Something cannot be looked into."""


class Contents:
    """What an array or a tensor holds.

    Args:
        owner: that.

    Raises:
        OpaqueError: it is of a kind that cannot be looked into.
    """

    def __init__(self, owner: Any) -> None:
        self._owner = owner
        self._size = self._bytes()
        self._form = self._look()
        self._start: int | None = None
        self._copy = self._copied() if self._size < _LARGE else None

    def bind(self, sent: Sent) -> bool:
        """Learn where the bytes are that were sent; False if they were not sent as they lie here."""
        if self._copy is not None:
            return True
        self._start = sent.get((self._form[0], self._size))
        return self._start is not None

    def same(self, memory: memoryview) -> bool:
        """Whether nothing has changed.

        Args:
            memory: the segment that it was sent in.
        """
        if self._look() != self._form:
            return False
        if self._start is None:
            return self._copied() == self._copy
        now = (ctypes.c_ubyte * self._size).from_address(self._form[0])  # which lie in one piece, or were not found
        return same_bytes(now, memory[self._start : self._start + self._size])

    def _look(self) -> tuple[Any, ...]:
        """The address, and whatever else may be another one without any byte being changed."""
        raise NotImplementedError

    def _bytes(self) -> int:
        raise NotImplementedError

    def _copied(self) -> bytes:
        raise NotImplementedError


class _OfArray(Contents):
    def _look(self) -> tuple[Any, ...]:
        array = self._owner
        return address_of(array), array.shape, array.strides, array.dtype, array.flags.writeable

    def _bytes(self) -> int:
        if type(self._owner) not in (np.ndarray, np.memmap) or self._owner.dtype.hasobject:
            raise OpaqueError
        return int(self._owner.nbytes)

    def _copied(self) -> bytes:
        return bytes(self._owner.tobytes())


class _InFile(_OfArray):
    """What is in a file is not sent, and is everybody's at once."""

    def bind(self, sent: Sent) -> bool:
        return True

    def same(self, memory: memoryview) -> bool:
        return self._look() == self._form

    def _copied(self) -> bytes:
        return b""


class _OfTensor(Contents):
    def _look(self) -> tuple[Any, ...]:
        tensor = self._owner
        form = tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.requires_grad
        return *form, bool(vars(tensor))

    def _bytes(self) -> int:
        import torch  # delayed: there is a tensor

        tensor = self._owner
        plain = tensor.device.type == "cpu" and tensor.layout == torch.strided and not tensor.is_quantized
        if not plain or tensor.is_conj() or tensor.is_neg() or tensor.grad_fn is not None:
            raise OpaqueError
        if not tensor.is_contiguous() or vars(tensor) or tensor._backward_hooks:
            raise OpaqueError
        return int(tensor.numel() * tensor.element_size())

    def _copied(self) -> bytes:
        return ctypes.string_at(self._owner.data_ptr(), self._size) if self._size else b""


def contents_of(value: Any) -> Contents | None:
    """The contents of an array or a tensor, or None if it is neither.

    Raises:
        OpaqueError: it is of a kind that cannot be looked into.
    """
    if isinstance(value, np.ndarray):
        mode = _mode(value)
        if mode == "c":  # it is the file only as far as nobody has written to it
            raise OpaqueError
        return _OfArray(value) if mode is None else _InFile(value)
    kind = type(value)
    if kind.__name__ == "Tensor" and kind.__module__ == "torch":
        return _OfTensor(value)
    return None


def _mode(array: Any) -> str | None:
    """How a file is mapped that an array looks into by way of a ``np.memmap``, or None."""
    if not is_mapped(array):
        return None
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return getattr(array, "mode", None)
