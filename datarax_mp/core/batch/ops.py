"""Operations on whole batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from datarax_mp.core.batch.batch import Batch
from datarax_mp.core.batch.lazy_module import InfoThunk, MetadataThunk, fill
from datarax_mp.core.batch.stacking import map_lists
from datarax_mp.core.spanning import check_whole
from datarax_mp.core.tensors import as_array, as_tensor, is_tensor


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
        """Join batches end to end; batch state and batch metadata are the first one's. None give an empty batch.

        Args:
            batches: batches with the same fields, of any sizes.

        Raises:
            ValueError: their fields differ.
        """
        if not batches:
            return Batch([])
        by_element = all(type(batch.get_states()) is list for batch in batches)
        parts = [(batch.get_data(), {} if by_element else batch.get_states()) for batch in batches]
        check_whole(jax.tree.leaves(parts))
        structures = {str(jax.tree.structure(part)): None for part in parts}
        if len(structures) > 1 or len({tuple(sorted(batch.info)) for batch in batches}) > 1:
            found = [[*batch, *batch.info] for batch in batches]
            raise ValueError(f"batches must have the same fields, found {found}")

        def join(*arrays: Any) -> Any:
            if all(map(is_tensor, arrays)):
                return as_tensor(np.concatenate([as_array(tensor) for tensor in arrays]))
            return (np if all(isinstance(array, np.ndarray) for array in arrays) else jnp).concatenate(arrays)

        data, states = jax.tree.map(join, *parts)
        if by_element:
            states = list(chain.from_iterable(batch.get_states() for batch in batches))
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

    @staticmethod
    def update_batch_inplace(batch: Batch, updates: Mapping[str, Any]) -> Batch:
        """Add fields to a batch, or replace them, all or none; the batch itself is returned.

        Args:
            batch: the batch.
            updates: arrays ``(batch_size, ...)`` by field.

        Raises:
            ValueError: an array has another number of rows.

        >>> batch = Batch.from_parts({"x": np.arange(2)})
        >>> BatchOps.update_batch_inplace(batch, {"y": batch["x"] * 2}) is batch, batch["y"].tolist()
        (True, [0, 2])
        """
        batch.update(updates)
        return batch
