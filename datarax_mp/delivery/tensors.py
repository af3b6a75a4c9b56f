"""Batches as torch's CPU tensors: over the slot, without a copy, and the slot's lease is theirs.

A slot is free when the last tensor that looks into it has died, views among them, as with arrays (``core.tensors``).
Slots can be written to, as torch wants it; what the caller writes there is the caller's own.
"""

from __future__ import annotations

import numpy as np

from datarax_mp.core.record import field_name
from datarax_mp.core.spec import Layout
from datarax_mp.core.tensors import as_tensor


def check_tensors(layout: Layout) -> None:
    """Make sure that torch has tensors for every field.

    Raises:
        TypeError: it has none of a field's dtype; the message names the field.
    """
    for spec in layout.fields:
        try:
            as_tensor(np.empty(0, spec.dtype))
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"field '{field_name(spec.path)}': torch has no tensors of dtype {spec.dtype.str}"
                f" ({spec.dtype.name}). Convert it in a stage, or use output='numpy'"
            ) from error
