"""The parts of a batch in a plain container."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.batch.batch import Batch


@dataclass(frozen=True, eq=False, slots=True)
class BatchView(Mapping[str, Any]):
    """Stacked arrays by name, without metadata, and neither a module nor a pytree: a mapping that is read.

    Attributes:
        data: arrays ``(batch_size, ...)`` by field.
        states: per-element state.
        batch_size: the number of elements.

    >>> import numpy as np
    >>> view = BatchView({"x": np.arange(3)}, {}, 3)
    >>> list(view), view["x"].sum().item(), view.to_batch().batch_size
    (['x'], 3, 3)
    """

    data: Mapping[str, Any]
    states: Any
    batch_size: int

    __hash__ = object.__hash__
    __eq__ = object.__eq__  # a mapping's would ask arrays for one truth

    def __getitem__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError:
            raise KeyError(f"no field {name!r}; this batch has {list(self.data)}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    def get_data(self) -> dict[str, Any]:
        """The stacked arrays as a plain dict."""
        return dict(self.data)

    def to_batch(self) -> Batch:
        """The same as a Batch.

        Raises:
            ValueError: the parts do not fit together.
        """
        return Batch.from_parts(self.data, self.states)
