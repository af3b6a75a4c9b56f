"""What the values of a batch are like."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from datarax_mp.core.batch.stacking import named_leaves


def statistics(data: Any, mask: Any) -> dict[str, Any]:
    """Mean, standard deviation, least and largest value over axis 0, in NumPy's memory or JAX's as the arrays are.

    Args:
        data: arrays ``(rows, ...)``.
        mask: bool ``(rows,)``, the rows that count, or None if all do. Where none does, the mean is NaN.

    Returns:
        Arrays ``(...)`` by the field's name and ``_mean``, ``_std``, ``_min``, ``_max``.
    """
    found = {}
    for name, array in named_leaves(data).items():
        xp: Any = np if isinstance(array, np.ndarray) else jnp
        where = True if mask is None else jnp.reshape(mask, (-1,) + (1,) * (array.ndim - 1))
        if xp is np:
            where = np.asarray(where)
        low, high = _ends(array.dtype)
        found[f"{name}_mean"] = xp.mean(array, axis=0, where=where)
        found[f"{name}_std"] = xp.std(array, axis=0, where=where)
        found[f"{name}_min"] = xp.min(array, axis=0, where=where, initial=high)
        found[f"{name}_max"] = xp.max(array, axis=0, where=where, initial=low)
    return found


def _ends(dtype: Any) -> tuple[Any, Any]:
    """The least and the largest value of a dtype."""
    if jax.dtypes.issubdtype(dtype, np.bool_):
        return False, True
    if jax.dtypes.issubdtype(dtype, np.integer):
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return -np.inf, np.inf
