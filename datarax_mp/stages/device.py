"""Stages that run on JAX arrays, on the device, after the transfer."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
from flax import nnx

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeviceStage:
    """Apply a function to every batch on the device; it is jitted, once per shape.

    Attributes:
        fn: ``dict of jax.Array (rows, ...) -> dict of jax.Array (rows, ...)``.

    >>> DeviceStage(lambda batch: {**batch, "image": batch["image"] / 255.0}).fn({"image": 255.0})
    {'image': 1.0}
    """

    fn: Callable[[Data], Data]


def compile_stages(stages: Sequence[Any]) -> Callable[[Data], Data]:
    """One function that applies all device stages in order; those between two modules are fused into one."""
    steps: list[Callable[[Data], Data]] = []
    for fused, group in itertools.groupby(stages, lambda stage: isinstance(stage, DeviceStage)):
        if fused:
            steps.append(_jitted(tuple(stage.fn for stage in group)))
        else:
            steps += [partial(_call_module, module) for module in group]
    return steps[0] if len(steps) == 1 else _composed(tuple(steps))


# One per functions, not one per pipeline: a script that makes a pipeline per epoch would compile in every epoch.
@lru_cache(maxsize=32)
def _jitted(functions: tuple[Callable[[Data], Data], ...]) -> Callable[[Data], Data]:
    return jax.jit(_composed(functions))


def _composed(functions: tuple[Callable[[Data], Data], ...]) -> Callable[[Data], Data]:
    def apply(data: Data) -> Data:
        for function in functions:
            data = function(data)
        return data

    return apply


_call_module: Callable[[nnx.Module, Data], Data] = nnx.jit(lambda module, data: module(data))
