"""Device stages on a batch that the user has, wherever it comes from."""

from __future__ import annotations

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from datarax_mp.core.batch.batch import Batch
from datarax_mp.delivery.draws import batch_words
from datarax_mp.order.epoch import Epoch
from datarax_mp.stages.device import DeviceStages
from datarax_mp.stages.draws import Draws


def applied(stages: DeviceStages, batch: Any, epoch: Epoch, step: int) -> Any:
    """What stages make of a batch.

    Args:
        stages: all device stages.
        batch: a dict of arrays ``(rows, ...)`` or a Batch. Its arrays stay valid: they are not donated.
        epoch: the epoch and step that random stages draw for.
        step: see above.

    Raises:
        TypeError: it is neither.
    """
    if not isinstance(batch, (dict, Batch)):
        raise TypeError(f"device stages take a dict of arrays or a Batch, got {type(batch).__name__}")
    data = batch.get_data() if isinstance(batch, Batch) else batch
    draws = None
    if stages.random:
        rows = np.arange(len(jax.tree.leaves(data)[0]), dtype="<i8")
        records = jnp.asarray(rows.view("<u4").reshape(-1, 2)) if stages.per_record else None
        draws = Draws(jnp.asarray(batch_words(epoch, step, apart=True)), records)
    result = stages(jax.tree.map(jnp.array, data), draws)  # of copies, for stages donate what they are given
    if isinstance(batch, dict):
        return result
    changed = copy.copy(batch)
    changed.data = result
    return changed
