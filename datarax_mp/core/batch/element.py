"""One sample."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from flax import struct

from datarax_mp.core.metadata import Metadata


@struct.dataclass
class Element:
    """One sample: its arrays, its state and its metadata. Immutable, and a pytree.

    Attributes:
        data: arrays by field name, without a batch axis; dicts may nest.
        state: per-element state arrays.
        metadata: where it comes from.

    >>> element = Element({"x": 1.0}).update_data({"y": 2.0})
    >>> element.transform(lambda value: value * 10).data
    {'x': 10.0, 'y': 20.0}
    """

    data: dict[str, Any] = struct.field(default_factory=dict)
    state: dict[str, Any] = struct.field(default_factory=dict)
    metadata: Metadata | None = None

    def update_data(self, changes: dict[str, Any]) -> Element:
        """A copy with these fields added or replaced."""
        return self.replace(data={**self.data, **changes})  # type: ignore[attr-defined, no-any-return]

    def update_state(self, changes: dict[str, Any]) -> Element:
        """A copy with this state added or replaced."""
        return self.replace(state={**self.state, **changes})  # type: ignore[attr-defined, no-any-return]

    def with_metadata(self, metadata: Metadata | None) -> Element:
        """A copy with other metadata."""
        return self.replace(metadata=metadata)  # type: ignore[attr-defined, no-any-return]

    def transform(self, fn: Callable[[Any], Any]) -> Element:
        """A copy with ``fn`` applied to every array of the data; it may be traced and differentiated."""
        return self.replace(data=jax.tree.map(fn, self.data))  # type: ignore[attr-defined, no-any-return]

    apply_to_data = transform
