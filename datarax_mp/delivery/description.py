"""What a batch says beside its arrays: metadata, and the fields that are no arrays. Made when somebody looks."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from datarax_mp.core.record import Infos, nest
from datarax_mp.order.epoch import Epoch
from datarax_mp.recipe.work import Skip

if TYPE_CHECKING:
    from datarax_mp.core.metadata import Metadata


def batch_metadata(
    epoch: Epoch, step: int, skips: tuple[Skip, ...], size: int, info: bytes | None, track_name: str | None
) -> list[Metadata]:
    """The metadata of a batch's elements without those that were skipped; padding has an index of None."""
    from datarax_mp.core.metadata import Metadata  # delayed: it imports JAX

    infos: Infos = pickle.loads(info) if info is not None else {}
    global_step, shard = epoch.global_step(step), epoch.shard_id
    metadata = []
    missing = [skip.row for skip in skips]
    for row, number in enumerate(np.delete(epoch.origins(step), missing).tolist()):
        source_info = nest({path: values[row] for path, values in infos.items()}) if infos else {}
        key = None
        if track_name is not None:
            key = f"{track_name}:{number}"
            source_info = {"source": track_name, **source_info}
        metadata.append(Metadata(number, epoch.number, global_step, step, shard, None, source_info, key))
    padding = Metadata(None, epoch.number, global_step, step, shard)
    return metadata + [padding] * (size - len(metadata))


def batch_info(info: bytes, size: int) -> dict[str, Any]:
    """The fields of a batch that are no arrays, lists of ``size`` values; None at padding."""
    infos: Infos = pickle.loads(info)
    return nest({path: values + [None] * (size - len(values)) for path, values in infos.items()})
