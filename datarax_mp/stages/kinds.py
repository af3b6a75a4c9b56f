"""What a user may put among the stages, made a stage.

one of ours                        itself
an nnx.Module                      ModuleStage
one of Grain's transforms          what it is here (``grain``)
an object with .random_map, .map   RandomMapElement, MapElement of that method
any other callable                 MapElement
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from datarax_mp.stages.base import Stage
from datarax_mp.stages.filter import Filter
from datarax_mp.stages.flat_map import FlatMap
from datarax_mp.stages.grain import grain_method
from datarax_mp.stages.map_element import MapElement
from datarax_mp.stages.random_map import RandomMapElement

_BY_METHOD: dict[str, Callable[[Any], Stage]] = {
    "map": MapElement,
    "random_map": RandomMapElement,
    "np_random_map": RandomMapElement,
    "filter": Filter,
    "flat_map": lambda method: FlatMap(method, method.__self__.max_fan_out),
}


def as_stage(stage: Any, place: int) -> Stage:
    """Normalise what a user put among the stages.

    Args:
        stage: see the module.
        place: its place in the list, for messages.

    Raises:
        TypeError: it is no stage; of Grain's transforms that are none, the message says what is.
    """
    if isinstance(stage, Stage):
        return _checked(stage, place)
    if is_module(stage):
        from datarax_mp.stages.device import ModuleStage  # delayed: it imports JAX, which whoever has a module has, too

        return _checked(ModuleStage(stage), place)
    if (theirs := grain_method(stage, place)) is not None:
        method, fn = theirs
        return _checked(_BY_METHOD[method](fn), place)
    for name in ("random_map", "map"):
        if callable(own := getattr(stage, name, None)):
            return _BY_METHOD[name](own)
    if callable(stage):
        return MapElement(stage)
    raise TypeError(
        f"stages[{place}] of type {type(stage).__name__} is no stage: expected a callable, MapElement, "
        "RandomMapElement, Filter, FlatMap, Pad, MapBatch, DeviceStage, RandomDeviceStage, an nnx.Module, or an object "
        "with .map or .random_map"
    )


def _checked(stage: Stage, place: int) -> Stage:
    stage.check(f"stages[{place}]")
    return stage


def is_module(stage: Any) -> bool:
    """Whether it is an ``nnx.Module``. Whoever made one has imported Flax, so there is no need to, to ask."""
    flax = sys.modules.get("flax.nnx")
    return flax is not None and isinstance(stage, flax.Module)
