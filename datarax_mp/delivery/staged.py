"""Device stages at work on a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from datarax_mp.core.strays import claim

if TYPE_CHECKING:
    from datarax_mp.stages.device import DeviceStages
    from datarax_mp.stages.draws import Draws


def apply(stages: DeviceStages, data: dict[str, Any], draws: Draws | None) -> dict[str, Any]:
    """What the stages make of a batch's arrays; what they raise is the user's code's."""
    try:
        return stages(data, draws)
    except BaseException as error:
        claim(error)
        raise


def at_hand_over(stages: DeviceStages) -> Callable[[Any], Any]:
    """Device stages that wait until the user gets the batch, and take it with what they draw from.

    When batches are moved to the device ahead of the user depends on how quick the workers are; when the user gets them
    does not. Two kinds of stages must not go ahead of him: where arrays span several processes, JAX wants all of them
    to start their computations in the same order. And a module that changes with every batch is to have seen those that
    the user has received, and no others, when it is looked at or saved.
    """

    def hand_over(waiting: tuple[Any, Draws | None]) -> Any:
        batch, draws = waiting
        batch.data = apply(stages, batch.get_data(), draws)
        return batch

    return hand_over
