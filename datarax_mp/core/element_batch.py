"""Batch: samples stacked along axis 0, as a Flax NNX Module that costs next to nothing to make.

Making an ``nnx.Module`` with a few Variables takes some 0.2 ms, more than moving a small batch to the device. A Batch
therefore keeps its parts as plain dicts, and makes a Variable of one when somebody reads ``batch.data`` and its like or
when NNX flattens the module. As a pytree it is just its parts:

    children   data, states, batch_state, mask (None unless something is padded)
    static     nothing, so two batches of the same shapes never retrace

Metadata is host-side and crosses neither ``jit`` nor any other transformation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp.core.element import Element as Element
from datarax_mp.core.fields import Fields
from datarax_mp.core.lazy_module import InfoThunk, MetadataThunk, fill, raw
from datarax_mp.core.metadata import Metadata
from datarax_mp.core.spanning import check_whole, row_sharding, spans_processes
from datarax_mp.core.stacking import check_parts, map_lists, rows_of, same_arrays, stack_elements


class Batch(Fields):
    """Samples stacked along axis 0.

    Args:
        elements: the samples; none gives a batch of size 0.
        validate: whether to check that they fit together.

    Raises:
        ValueError: elements differ in their fields, shapes or dtypes; the message names element and field.

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
        states: Mapping[str, Any] | None = None,
        metadata_list: Sequence[Metadata] | None = None,
        batch_metadata: Any = None,
        batch_state: Mapping[str, Any] | None = None,
        *,
        validate: bool = True,
        valid_mask: Any = None,
    ) -> Batch:
        """Make a batch of arrays that are stacked already.

        Args:
            data: arrays ``(batch_size, ...)`` by field, NumPy or JAX; dicts may nest.
            states: per-element state, arrays ``(batch_size, ...)``.
            metadata_list: one Metadata per element.
            batch_metadata: metadata of the batch as a whole, anything.
            batch_state: state of the batch as a whole, no batch axis.
            validate: whether to check that the parts fit together.
            valid_mask: bool ``(batch_size,)``, False where an element is padding.

        Raises:
            ValueError: leading axes differ, the metadata or the mask has another length, or data holds no array.

        >>> Batch.from_parts({"x": np.zeros((4, 2))}).batch_size
        4
        """
        data, states = dict(data), dict(states or {})
        if validate:
            check_parts(data, states, metadata_list, valid_mask)
        batch = object.__new__(cls)
        metadata = None if metadata_list is None else list(metadata_list)
        mask = None if valid_mask is None else _as_mask(valid_mask)
        fill(batch, data, states, dict(batch_state or {}), mask, size=rows_of(data), metadata=metadata)
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
        """Per-element state, an ``nnx.Variable`` that holds a dict."""
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
            found = [Metadata()] * self.batch_size
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

    def get_states(self) -> dict[str, Any]:
        """The per-element state as a plain dict."""
        return dict(raw(self._states))

    # --- elements and smaller batches

    def get_element(self, index: int) -> Element:
        """One sample.

        Raises:
            IndexError: ``index`` is outside of ``0 <= index < batch_size``.
        """
        if not 0 <= index < self.batch_size:
            raise IndexError(f"element {index} is outside of the batch's {self.batch_size} elements")
        check_whole(jax.tree.leaves(raw(self._data)))
        data, states = jax.tree.map(lambda array: array[index], (raw(self._data), raw(self._states)))
        return Element(data=data, state=states, metadata=self.metadata[index])  # type: ignore[call-arg]

    def get_elements(self, which: slice | Sequence[int]) -> list[Element]:
        """Several samples, by a slice or a list of indices.

        Raises:
            IndexError: an index is out of range.
        """
        indices = range(self.batch_size)[which] if isinstance(which, slice) else which
        return [self.get_element(index) for index in indices]

    def slice(self, start: int, stop: int) -> Batch:
        """The elements from ``start`` to before ``stop``, as a batch; both ends are clamped to what there is."""
        start = min(max(start, 0), self.batch_size)
        stop = min(max(stop, start), self.batch_size)
        return self._select(lambda array: array[start:stop], lambda items: items[start:stop], stop - start)

    def split_for_devices(self, count: int) -> list[Batch]:
        """Cut into ``count`` batches of equal size.

        Raises:
            ValueError: the batch does not divide into so many.
        """
        if count < 1 or self.batch_size % count:
            raise ValueError(f"a batch of {self.batch_size} elements does not divide into {count} equal parts")
        size = self.batch_size // count
        return [self.slice(place * size, (place + 1) * size) for place in range(count)]

    def _select(self, cut: Callable[[Any], Any], cut_list: Callable[[list[Any]], list[Any]], size: int) -> Batch:
        """A batch of some rows, metadata and all; ``cut`` takes them from an array, ``cut_list`` from a list."""
        check_whole(jax.tree.leaves(raw(self._data)))
        data, states, mask = jax.tree.map(cut, (raw(self._data), raw(self._states), self._mask))
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


class BatchOps:
    """Operations on whole batches."""

    @staticmethod
    def select_batch_rows(batch: Batch, mask: Any) -> Batch:
        """The elements where ``mask`` is True, with their states, metadata and validity.

        Args:
            batch: the batch.
            mask: bool ``(batch_size,)``.

        Raises:
            ValueError: the mask has another shape or dtype.

        >>> BatchOps.select_batch_rows(Batch.from_parts({"x": np.arange(3)}), [True, False, True])["x"].tolist()
        [0, 2]
        """
        chosen = np.asarray(mask)
        if chosen.shape != (batch.batch_size,) or chosen.dtype != bool:
            raise ValueError(
                f"mask must be bool of shape ({batch.batch_size},), found {chosen.dtype} of shape {chosen.shape}"
            )
        rows = np.flatnonzero(chosen)
        return batch._select(lambda array: array[rows], lambda items: [items[row] for row in rows], len(rows))

    @staticmethod
    def concatenate_batch_sequence(batches: Sequence[Batch]) -> Batch:
        """Join batches end to end; batch state and batch metadata are the first one's.

        Raises:
            ValueError: there is no batch, or their fields differ.
        """
        if not batches:
            raise ValueError("expected at least one batch to concatenate")
        parts = [(batch.get_data(), batch.get_states()) for batch in batches]
        check_whole(jax.tree.leaves(parts))
        structures = {str(jax.tree.structure(part)): None for part in parts}
        if len(structures) > 1 or len({tuple(sorted(batch.info)) for batch in batches}) > 1:
            found = [[*batch, *batch.info] for batch in batches]
            raise ValueError(f"batches must have the same fields, found {found}")

        def join(*arrays: Any) -> Any:
            return (np if all(isinstance(array, np.ndarray) for array in arrays) else jnp).concatenate(arrays)

        data, states = jax.tree.map(join, *parts)
        padded = any(batch._mask is not None for batch in batches)
        mask = join(*[batch.valid_mask for batch in batches]) if padded else None
        joined = object.__new__(Batch)
        metadata: MetadataThunk = lambda: [item for batch in batches for item in batch.metadata]  # noqa: E731
        size = sum(batch.batch_size for batch in batches)
        info: InfoThunk = lambda: map_lists(  # noqa: E731
            lambda *lists: list(chain.from_iterable(lists)), *[batch.info for batch in batches]
        )
        fill(joined, data, states, batches[0].get_batch_state(), mask, size=size, metadata=metadata, info=info)
        joined.set_batch_metadata(batches[0].get_batch_metadata())
        return joined


def make_batch(
    data: dict[str, Any], size: int, metadata: MetadataThunk, mask: Any = None, info: InfoThunk | None = None
) -> Batch:
    """A batch that comes out of a pipeline: nothing is checked, everything beyond the arrays is made when asked for."""
    batch = object.__new__(Batch)
    fill(batch, data, {}, {}, mask, size=size, metadata=metadata, info=info)
    return batch


def _as_mask(mask: Any) -> Any:
    return mask if isinstance(mask, jax.Array) else np.asarray(mask, bool)


def _brief(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__
