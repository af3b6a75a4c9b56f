"""Several batches in one array: a Batch whose arrays are ``(steps, rows, ...)``.

In the slot the batches of a run lie one behind the other, so there the array is a view. NumPy's is that view; to a
device it goes in one transfer for each field, 0.5 MB as ``(64, 128, 16)`` in 30 us.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from datarax_mp.delivery.description import batch_info, batch_metadata
from datarax_mp.delivery.transfer import Transfer
from datarax_mp.feed.chunked import HostChunk
from datarax_mp.feed.host_batch import HostBatch
from datarax_mp.order.epoch import Epoch
from datarax_mp.recipe.work import Skip

if TYPE_CHECKING:
    from datarax_mp.delivery.base import HandOver
    from datarax_mp.stages.device import DeviceStages
    from datarax_mp.stages.draws import Draws

_About: TypeAlias = tuple[Epoch, int, tuple[Skip, ...], int, bytes | None, str | None]  # of ``batch_metadata``


class Chunk(NamedTuple):
    """Arrays for several steps.

    Attributes:
        data: arrays ``(room, rows, ...)`` by name.
        mask: bool ``(room, rows)``, False where a row is padding; None where none can be.
        steps: how many steps there are in them, the first ones.
    """

    data: dict[str, Any]
    mask: Any
    steps: int


class Stacking(Protocol):
    """What is the same for the stacks of all epochs; ``BatchDelivery`` has it.

    Attributes:
        make_batch, stages, track_name, padded, hand_over: as there.
    """

    make_batch: Callable[..., Any]
    stages: DeviceStages | None
    track_name: str | None
    padded: bool
    hand_over: HandOver | None

    def stacked_draws(self, stages: DeviceStages, batches: list[HostBatch], shards: int, room: int) -> Draws:
        """What random stages draw from for several batches."""
        ...

    def stacked_mask(self, rows: tuple[int, ...], size: int, shards: int) -> Any:
        """Which rows are there of several batches."""
        ...


class BoundStacks:
    """Delivers an epoch's batches several at a time.

    Args:
        delivery: what is the same in every epoch.
        shards: of how many shards arrays consist.
        transfer: moves stacked arrays.
        bare: whether Chunks are wanted instead of Batches.
    """

    def __init__(self, delivery: Stacking, shards: int, transfer: Transfer, *, bare: bool) -> None:
        self._delivery, self._shards, self._transfer, self._bare = delivery, shards, transfer, bare
        self.hand_over: HandOver | None = None if delivery.hand_over is None else self._finish

    def take(self, chunk: HostChunk) -> Any:
        """Move the arrays to their place, and whatever else can be done ahead of the user."""
        delivery = self._delivery
        data, draws = self._transfer(chunk.arrays()), None
        if delivery.stages is not None and delivery.stages.random:
            draws = delivery.stacked_draws(delivery.stages, chunk.parts, self._shards, chunk.room)
        rows = [part.rows for part in chunk.parts] + [0] * (chunk.room - len(chunk.parts))
        wanted = delivery.padded or not self._bare
        mask = delivery.stacked_mask(tuple(rows), chunk.size, self._shards) if wanted else None
        # Not the parts, whose arrays are to die with the caller's.
        about = [(part.epoch, part.step, part.skips, part.size, part.info, delivery.track_name) for part in chunk.parts]
        waiting = data, draws, mask, about
        return waiting if self.hand_over is not None else self._finish(waiting)

    def _finish(self, waiting: tuple[Any, Any, Any, list[_About]]) -> Any:
        data, draws, mask, about = waiting
        delivery, steps = self._delivery, len(about)
        if delivery.stages is not None:
            data = delivery.stages.several(data, draws, steps)
        if self._bare:
            return Chunk(data, mask, steps)
        info = None if about[0][4] is None else partial(_infos, about)
        return delivery.make_batch(data, steps, partial(_metadata, about), mask, info)


def _metadata(about: list[_About]) -> list[Any]:
    """Of each step a list with one for each row."""
    return [batch_metadata(*of) for of in about]


def _infos(about: list[_About]) -> dict[str, Any]:
    """The fields that are no arrays: for each step a list with a value for each row."""
    return _joined([batch_info(info, size) for _, _, _, size, info, _ in about if info is not None])


def _joined(infos: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        name: _joined([info[name] for info in infos]) if isinstance(value, dict) else [info[name] for info in infos]
        for name, value in infos[0].items()
    }


def stack_with_room(arrays: list[np.ndarray], room: int) -> np.ndarray:
    """An array ``(room, ...)`` of several, with zeros behind them."""
    return np.stack(arrays + [np.zeros_like(arrays[0])] * (room - len(arrays)))
