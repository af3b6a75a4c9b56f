"""Stages that run on JAX arrays, on the device, after the transfer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    functions: list[Callable[[Data], Data]] = []

    def close_functions() -> None:
        if functions:
            steps.append(jax.jit(_composed(tuple(functions))))
            functions.clear()

    for stage in stages:
        if isinstance(stage, DeviceStage):
            functions.append(stage.fn)
        else:
            close_functions()
            steps.append(_module_step(stage))
    close_functions()
    return steps[0] if len(steps) == 1 else _composed(tuple(steps))


def _composed(functions: tuple[Callable[[Data], Data], ...]) -> Callable[[Data], Data]:
    def apply(data: Data) -> Data:
        for function in functions:
            data = function(data)
        return data

    return apply


def _module_step(module: nnx.Module) -> Callable[[Data], Data]:
    call = nnx.jit(lambda module, data: module(data))
    return lambda data: call(module, data)
