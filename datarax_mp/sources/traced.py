"""Records that a compiled function reads."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from datarax_mp.core.record import Path, field_name, nest
from datarax_mp.sources.columns import ArrayColumn, Column


def is_traced(*values: Any) -> bool:
    """Whether one of the values is a tracer of JAX's."""
    jax = sys.modules.get("jax")
    return jax is not None and any(isinstance(value, jax.core.Tracer) for value in values)


def traced_rows(columns: Mapping[Path, Column], numbers: Any) -> dict[str, Any]:
    """Rows of columns, which become constants of what is compiled.

    Args:
        columns: the columns, arrays of ``length`` rows.
        numbers: traced int ``(rows,)``, each from 0 and below ``length``.

    Raises:
        TypeError: a column is no array.
        OverflowError: a column holds integers that JAX's arrays do not.
    """
    import jax.numpy as jnp  # delayed: whoever traces has imported it

    rows = {}
    for path, column in columns.items():
        if not isinstance(column, ArrayColumn):
            what = f"field '{field_name(path)}' is no array" if path else "the source was made of a sequence of records"
            raise TypeError(f"{what}: jit and the like can only read columns of arrays. Read it outside of the trace")
        constant = jnp.asarray(column.array)
        narrowed = constant.dtype != column.array.dtype and column.array.dtype.kind in "iu"
        if narrowed and not np.array_equal(column.array.astype(constant.dtype), column.array):
            raise OverflowError(
                f"field '{field_name(path)}' holds values that do not fit into {constant.dtype}; set jax_enable_x64"
            )
        rows[path] = constant[numbers]
    return nest(rows)
