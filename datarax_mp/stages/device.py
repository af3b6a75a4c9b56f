"""Stages that run on JAX arrays, on the device, after the transfer."""

from __future__ import annotations

import itertools
from collections import Counter
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

    An array that goes in is donated where one of the same shape and dtype comes out, so that the device need not hold
    both. (Where host memory is aliased, as on the CPU backend, JAX copies all the same.)

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
    composed = jax.jit(_composed(functions))  # so that it is traced once, for the plan and for the run
    plans: dict[Any, _Plan] = {}

    @partial(jax.jit, static_argnums=2, donate_argnums=0)
    def run(donated: list[jax.Array], others: list[jax.Array], plan: _Plan) -> Data:
        parts = {True: iter(donated), False: iter(others)}
        return composed(plan.structure.unflatten([next(parts[donate]) for donate in plan.donate]))

    def apply(data: Data) -> Data:
        leaves, structure = jax.tree.flatten(data)
        key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if (plan := plans.get(key)) is None:
            plan = plans[key] = _Plan(structure, _donatable(leaves, jax.eval_shape(composed, data)))
        donated = list(itertools.compress(leaves, plan.donate))
        others = [leaf for leaf, donate in zip(leaves, plan.donate, strict=True) if not donate]
        return run(donated, others, plan)

    return apply


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a batch's arrays are handed over: its structure, and for each leaf whether it is donated."""

    structure: Any
    donate: tuple[bool, ...]


def _donatable(leaves: Sequence[jax.Array], results: Data) -> tuple[bool, ...]:
    """Whether each array can become one of the results; JAX warns of a donation that nothing can use."""
    room = Counter((result.shape, result.dtype) for result in jax.tree.leaves(results))
    donate = []
    for leaf in leaves:
        kind = leaf.shape, leaf.dtype
        donate.append(room[kind] > 0)
        room[kind] -= 1
    return tuple(donate)


def _composed(functions: tuple[Callable[[Data], Data], ...]) -> Callable[[Data], Data]:
    def apply(data: Data) -> Data:
        for function in functions:
            data = function(data)
        return data

    return apply


_call_module: Callable[[nnx.Module, Data], Data] = nnx.jit(lambda module, data: module(data))
