"""Device stages at work on a batch."""

from __future__ import annotations

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
