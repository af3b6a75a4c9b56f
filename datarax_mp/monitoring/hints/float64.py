"""Images of 64-bit numbers: eight times the bytes that they had as files, for nothing."""

from __future__ import annotations

import numpy as np

from datarax_mp.core.record import field_name
from datarax_mp.core.spec import FieldSpec
from datarax_mp.monitoring.hints.look import Look

_CHANNELS = (1, 3, 4)
_LEAST = 32  # pixels of a side: anything smaller may be a matrix, and costs little


def hint(look: Look) -> str | None:
    """Fields that look like images, by the first record."""
    if look.layouts is None:
        return None
    found = [spec for spec in look.layouts.collated.fields if spec.source_dtype == np.float64 and _is_image(spec)]
    if not found:
        return None
    spec = found[0]
    becomes = "" if spec.dtype == np.float64 else f", and JAX gets it as {spec.dtype}"
    return (
        f"field '{field_name(spec.path)}' holds images {spec.shape} of float64: 8 bytes a value, where float32 has 4 "
        f"and uint8 has 1{becomes}. Return uint8 and use Normalize, which runs on the device, or np.float32 "
        "(dividing a uint8 image by 255 makes float64; by np.float32(255), float32)"
    )


def _is_image(spec: FieldSpec) -> bool:
    if len(spec.shape) != 3:
        return False
    first, middle, last = spec.shape
    sides = (first, middle) if last in _CHANNELS else (middle, last)
    return (last in _CHANNELS or first in _CHANNELS) and min(sides) >= _LEAST
