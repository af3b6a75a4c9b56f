"""What the values of a batch are like."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from datarax_mp.core.batch.stacking import named_leaves
from datarax_mp.core.tensors import as_array, as_tensor, is_tensor


def statistics(data: Any, mask: Any) -> dict[str, Any]:
    """Mean, standard deviation, least and largest value over axis 0, NumPy's, JAX's or torch's as the arrays are.

    Args:
        data: arrays ``(rows, ...)``.
        mask: bool ``(rows,)``, the rows that count, or None if all do. Where none does, the mean is NaN.

    Returns:
        Arrays ``(...)`` by the field's name and ``_mean``, ``_std``, ``_min``, ``_max``.
    """
    found = {}
    mask = as_array(mask)
    for name, leaf in named_leaves(data).items():
        array = as_array(leaf)
        xp: Any = np if isinstance(array, np.ndarray) else jnp
        where = True if mask is None else jnp.reshape(mask, (-1,) + (1,) * (array.ndim - 1))
        if xp is np:
            where = np.asarray(where)
        low, high = _ends(array.dtype)
        each = {
            "mean": xp.mean(array, axis=0, where=where),
            "std": xp.std(array, axis=0, where=where),
            "min": xp.min(array, axis=0, where=where, initial=high),
            "max": xp.max(array, axis=0, where=where, initial=low),
        }
        for kind, value in each.items():
            found[f"{name}_{kind}"] = as_tensor(np.array(value)) if is_tensor(leaf) else value
    return found


def _ends(dtype: Any) -> tuple[Any, Any]:
    """The least and the largest value of a dtype."""
    if jax.dtypes.issubdtype(dtype, np.bool_):
        return False, True
    if jax.dtypes.issubdtype(dtype, np.integer):
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return -np.inf, np.inf
