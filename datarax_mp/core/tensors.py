"""Torch's CPU tensors and NumPy's arrays over the same memory, either way without a copy.

A tensor made by ``torch.from_numpy`` has a storage that holds the array; every view of the tensor has the same storage.

NumPy knows bfloat16 and the floats of eight bits by ``ml_dtypes`` only, where torch does not look. Their bits are the
same, so they go over as integers and are looked at as what they are. torch 2.6 and later have all that is named here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from datarax_mp.core.foreign import NARROW_FLOATS

if TYPE_CHECKING:
    import torch

_DTYPES = {name: np.dtype(getattr(ml_dtypes, name)) for name in NARROW_FLOATS}
_SAME_BITS = {dtype: (np.dtype(f"u{dtype.itemsize}"), name) for name, dtype in _DTYPES.items()}


def import_torch() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":  # it is there, and lacks something itself
            raise
        raise ImportError(
            'output="torch" needs torch: pip install "datarax-mp[torch]"; pytorch.org has what to choose from',
            name="torch",
        ) from error
    return torch


def is_tensor(value: Any) -> bool:
    """Whether this is one of torch's. Where nobody has imported torch there are none.

    >>> is_tensor(np.zeros(3))
    False
    """
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor over an array's memory, which it keeps.

    Raises:
        TypeError: torch has no such dtype.
        ValueError: the bytes of its numbers are in another order than this machine's.
    """
    torch = import_torch()
    if (same := _SAME_BITS.get(array.dtype)) is None:
        return torch.from_numpy(array)
    bits, name = same
    return torch.from_numpy(array.view(bits)).view(getattr(torch, name))


def as_array(value: Any) -> Any:
    """A tensor's memory as an array, wherever it was moved to; anything else as it is.

    >>> as_array(3)
    3
    """
    if not is_tensor(value):
        return value
    torch, tensor = sys.modules["torch"], value.detach().cpu()
    dtype = _DTYPES.get(str(tensor.dtype).removeprefix("torch."))
    if dtype is None:
        return tensor.numpy()
    return tensor.view(getattr(torch, f"uint{8 * dtype.itemsize}")).numpy().view(dtype)
