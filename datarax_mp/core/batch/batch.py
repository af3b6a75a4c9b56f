"""Batch: samples stacked along axis 0, as a Flax NNX Module that costs next to nothing to make.

Making an ``nnx.Module`` with a few Variables takes some 0.2 ms, more than moving a small batch to the device. A Batch
therefore keeps its parts as plain dicts, and makes a Variable of one when somebody reads ``batch.data`` and its like or
when NNX flattens the module. As a pytree it is just its parts:

    children   data, states, batch_state, mask (None unless something is padded)
    static     nothing, so two batches of the same shapes never retrace

Metadata is host-side and crosses neither ``jit`` nor any other transformation.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp.core.batch.element import Element
from datarax_mp.core.batch.fields import Array, Fields
from datarax_mp.core.batch.lazy_module import InfoThunk, MetadataThunk, fill, raw
from datarax_mp.core.batch.stacking import (
    check_parts,
    cut_states,
    known,
    map_lists,
    rows_of,
    same_arrays,
    stack_elements,
)
from datarax_mp.core.batch.statistics import statistics
from datarax_mp.core.metadata import UNKNOWN, Metadata
from datarax_mp.core.spanning import check_whole, row_sharding, spans_processes


class Batch(Fields[Array]):
    """Samples stacked along axis 0.

    Args:
        elements: the samples; none gives a batch of size 0.
        validate: whether to check that they fit together.

    Raises:
        ValueError: elements differ in their fields, shapes or dtypes; the message names element and field.
        OverflowError: one has a 64-bit value of NumPy's or Python's that does not fit into JAX's 32 bits.

    >>> batch = Batch([Element({"x": np.float32(1)}), Element({"x": np.float32(2)})])
    >>> batch["x"].tolist(), batch.batch_size
    ([1.0, 2.0], 2)
    """

    def __init__(self, elements: Sequence[Element], validate: bool = True) -> None:
        data, states, metadata = stack_elements(elements, validate=validate)
        fill(self, data, states, {}, None, size=len(elements), metadata=metadata)

    @classmethod
    def from_parts(
        cls,
        data: Mapping[str, Any],
        states: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        metadata_list: Sequence[Metadata | None] | None = None,
        batch_metadata: Any = None,
        batch_state: Mapping[str, Any] | None = None,
        *,
        validate: bool = True,
        valid_mask: Any = None,
    ) -> Batch[Any]:
        """Make a batch of arrays that are stacked already.

        Args:
            data: arrays ``(batch_size, ...)`` by field, NumPy or JAX; dicts may nest.
            states: per-element state, arrays ``(batch_size, ...)``; or a list with one dict per element, which stays
                a list.
            metadata_list: one Metadata per element, None where nothing is known.
            batch_metadata: metadata of the batch as a whole, anything.
            batch_state: state of the batch as a whole, no batch axis.
            validate: whether to check that the parts fit together.
            valid_mask: bool ``(batch_size,)``, False where an element is padding.

        Raises:
            ValueError: leading axes differ, the metadata, the mask or a list of states has another length, or data
                holds no array.

        >>> Batch.from_parts({"x": np.zeros((4, 2))}).batch_size
        4
        """
        data, kept = dict(data), _as_states(states)
        if validate:
            check_parts(data, kept, metadata_list, valid_mask)
        batch = object.__new__(cls)
        metadata = None if metadata_list is None else known(metadata_list)
        mask = None if valid_mask is None else _as_mask(valid_mask)
        size = len(kept) if type(kept) is list else rows_of(data)
        fill(batch, data, kept, dict(batch_state or {}), mask, size=size, metadata=metadata)
        batch.__dict__["_batch_metadata"] = batch_metadata
        return batch

    # --- the parts

    @property
    def data(self) -> Any:
        """The stacked arrays, an ``nnx.Variable`` that holds a dict."""
        return self._variable("_data")

    @data.setter
    def data(self, value: Any) -> None:
        self.__dict__["_data"] = value

    @property
    def states(self) -> Any:
        """Per-element state, an ``nnx.Variable`` that holds a dict, or the list that was given."""
        return self._variable("_states")

    @states.setter
    def states(self, value: Any) -> None:
        self.__dict__["_states"] = value

    @property
    def batch_state(self) -> Any:
        """State of the batch as a whole, an ``nnx.Variable`` that holds a dict."""
        return self._variable("_batch_state")

    @batch_state.setter
    def batch_state(self, value: Any) -> None:
        self.__dict__["_batch_state"] = value

    @property
    def metadata(self) -> list[Metadata]:
        """One Metadata per element; of rows that are spread over several processes, those of this one."""
        found = self._metadata
        if found is None:
            found = [UNKNOWN] * self.batch_size
        elif not isinstance(found, list):
            found = found()
        self.__dict__["_metadata"] = found
        return found

    @property
    def info(self) -> dict[str, Any]:
        """The fields that are no arrays (text, bytes, objects), nested as the records are: lists with a value per row.

        Padding has None. As ``metadata`` it stays on the host, and does not go through ``jit``.

        >>> from datarax_mp import Pipeline
        >>> batch = next(iter(Pipeline(source=[{"x": 1, "text": "one"}, {"x": 2, "text": "two"}], batch_size=2)))
        >>> batch.info["text"]
        ['one', 'two']
        """
        found = self._info
        if not isinstance(found, dict):
            found = {} if found is None else found()
        self.__dict__["_info"] = found
        return found

    @property
    def valid_mask(self) -> Any:
        """Which elements are real, as bool ``(batch_size,)``: False marks padding."""
        if self._mask is not None:
            return self._mask
        first = next(iter(jax.tree.leaves(raw(self._data))), None)
        if not isinstance(first, jax.Array):
            return np.ones(self.batch_size, bool)
        return jnp.ones(self.batch_size, bool, device=row_sharding(first.sharding) if spans_processes(first) else None)

    @valid_mask.setter
    def valid_mask(self, value: Any) -> None:
        self.__dict__["_mask"] = value

    @property
    def batch_size(self) -> int:
        """The number of elements."""
        size: int | None = self._size
        return rows_of(raw(self._data)) if size is None else size

    # --- as a value; as a dict it is in ``Fields``

    def __eq__(self, other: object) -> bool:
        """Whether another batch has the same fields, values (NaN is NaN), dtypes and mask; metadata do not count."""
        if not isinstance(other, Batch):
            return NotImplemented
        return self is other or same_arrays(self._arrays(), other._arrays())

    __hash__ = object.__hash__  # JAX and NNX tell modules apart, not values

    def _arrays(self) -> Any:
        return raw(self._data), raw(self._states), raw(self._batch_state), self.valid_mask

    def get_states(self) -> Any:
        """The per-element state, a plain dict of arrays; or a list with one dict per element, if it was given so."""
        return copy.copy(raw(self._states))

    def compute_stats(self) -> dict[str, Any]:
        """Mean, standard deviation, least and largest value of each field over the elements that are no padding.

        Returns:
            For a field ``x`` of shape ``(batch_size, ...)`` arrays ``(...)`` named ``x_mean``, ``x_std``, ``x_min`` and
            ``x_max``; the names of nested fields are joined by a slash. They may be traced.

        >>> stats = Batch.from_parts({"x": np.array([1.0, 3.0])}).compute_stats()
        >>> {name: float(value) for name, value in stats.items()}
        {'x_mean': 2.0, 'x_std': 1.0, 'x_min': 1.0, 'x_max': 3.0}
        """
        return statistics(raw(self._data), self._mask)

    # --- elements and smaller batches

    def get_element(self, index: int) -> Element:
        """One sample.

        Raises:
            IndexError: ``index`` is outside of ``0 <= index < batch_size``.
        """
        if not 0 <= index < self.batch_size:
            raise IndexError(f"element {index} is outside of the batch's {self.batch_size} elements")
        check_whole(jax.tree.leaves(raw(self._data)))
        data = jax.tree.map(lambda array: array[index], raw(self._data))
        states = cut_states(raw(self._states), lambda array: array[index], lambda states: states[index])
        return Element(data=data, state=states, metadata=self.metadata[index])  # type: ignore[call-arg]

    def get_elements(self, which: slice | Sequence[int]) -> list[Element]:
        """Several samples, by a slice or a list of indices.

        Raises:
            IndexError: an index is out of range.
        """
        indices = range(self.batch_size)[which] if isinstance(which, slice) else which
        return [self.get_element(index) for index in indices]

    def slice(self, start: int, stop: int) -> Batch[Array]:
        """The elements from ``start`` to before ``stop``, as a batch; both ends are clamped to what there is."""
        start = min(max(start, 0), self.batch_size)
        stop = min(max(stop, start), self.batch_size)
        return self._select(lambda array: array[start:stop], lambda items: items[start:stop], stop - start)

    def split_for_devices(self, count: int) -> list[Batch[Array]]:
        """Cut into ``count`` batches of equal size.

        Raises:
            ValueError: the batch does not divide into so many.
        """
        if count < 1 or self.batch_size % count:
            raise ValueError(f"a batch of {self.batch_size} elements does not divide into {count} equal parts")
        size = self.batch_size // count
        return [self.slice(place * size, (place + 1) * size) for place in range(count)]

    def _select(self, cut: Callable[[Any], Any], cut_list: Callable[[list[Any]], list[Any]], size: int) -> Batch[Array]:
        """A batch of some rows, metadata and all; ``cut`` takes them from an array, ``cut_list`` from a list."""
        check_whole(jax.tree.leaves(raw(self._data)))
        data, mask = jax.tree.map(cut, (raw(self._data), self._mask))
        states = cut_states(raw(self._states), cut, cut_list)
        batch = object.__new__(type(self))
        parts = raw(self._batch_state), mask
        info: InfoThunk = lambda: map_lists(cut_list, self.info)  # noqa: E731
        fill(batch, data, states, *parts, size=size, metadata=lambda: cut_list(self.metadata), info=info)
        batch.__dict__["_batch_metadata"] = self._batch_metadata
        return batch

    # --- the batch as a whole

    def get_batch_state(self) -> dict[str, Any]:
        """The state of the batch as a whole, as a plain dict."""
        return dict(raw(self._batch_state))

    def update_batch_state(self, changes: Mapping[str, Any]) -> None:
        """Merge into the state of the batch as a whole."""
        merged = {**raw(self._batch_state), **changes}
        if isinstance(self._batch_state, nnx.Variable):
            self._batch_state.set_value(merged)
        else:
            self.__dict__["_batch_state"] = merged

    def get_batch_metadata(self) -> Any:
        """The metadata of the batch as a whole."""
        return self._batch_metadata

    def set_batch_metadata(self, metadata: Any) -> None:
        """Replace the metadata of the batch as a whole."""
        self.__dict__["_batch_metadata"] = metadata

    def __repr__(self) -> str:
        leaves = jax.tree_util.tree_flatten_with_path(raw(self._data))[0]
        shown = (f"{jax.tree_util.keystr(path, simple=True, separator='/')}: {_brief(leaf)}" for path, leaf in leaves)
        return f"Batch({', '.join(shown)})"

    __str__ = __repr__


def make_batch(
    data: dict[str, Any], size: int, metadata: MetadataThunk, mask: Any = None, info: InfoThunk | None = None
) -> Batch:
    """A batch that comes out of a pipeline: nothing is checked, everything beyond the arrays is made when asked for."""
    batch = object.__new__(Batch)
    fill(batch, data, {}, {}, mask, size=size, metadata=metadata, info=info)
    return batch


def _as_states(states: Any) -> Any:
    if states is None or isinstance(states, Mapping):
        return dict(states or {})
    return [dict(state) for state in states]


def _as_mask(mask: Any) -> Any:
    return mask if isinstance(mask, jax.Array) else np.asarray(mask, bool)


def _brief(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__
