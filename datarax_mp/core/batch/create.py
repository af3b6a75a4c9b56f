"""Elements and batches of what there is, be it nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datarax_mp.core.batch.batch import Batch
from datarax_mp.core.batch.element import Element
from datarax_mp.core.batch.stacking import stack_elements
from datarax_mp.core.metadata import Metadata


def create_element(
    data: Mapping[str, Any] | None = None, state: Mapping[str, Any] | None = None, metadata: Metadata | None = None
) -> Element:
    """An Element of these parts; those that are not given are empty.

    Args:
        data: arrays by field name, without a batch axis.
        state: its state, arrays by name.
        metadata: where it comes from.

    >>> create_element().data
    {}
    """
    return Element(dict(data or {}), dict(state or {}), metadata)  # type: ignore[call-arg]


def create_batch_from_arrays(
    data: Mapping[str, Any],
    states: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    metadata_list: Sequence[Metadata | None] | None = None,
) -> Batch:
    """A Batch of arrays that are stacked already, and of states that are stacked or a list with one dict per element.

    Args:
        data: arrays ``(batch_size, ...)`` by field name; without any the batch is empty.
        states: likewise, or a list with one dict for each element.
        metadata_list: one for each element, or None where nothing is known.

    Raises:
        ValueError: the parts, or the states, do not fit together.

    >>> import numpy as np
    >>> batch = create_batch_from_arrays({"x": np.zeros(2)}, [{"age": 1}, {"age": 2}])
    >>> batch.get_states()["age"].tolist(), create_batch_from_arrays({}).batch_size
    ([1, 2], 0)
    """
    if not data:
        return Batch([])
    if states is not None and not isinstance(states, Mapping):
        elements = [Element({}, dict(state)) for state in states]  # type: ignore[call-arg]
        _, states, _ = stack_elements(elements, validate=True)
    return Batch.from_parts(data, states, metadata_list)
