"""Stages that run on JAX arrays, on the device, after the transfer."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeAlias

import jax
from flax import nnx

from datarax_mp.stages.base import Rank, Stage
from datarax_mp.stages.draws import Draws
from datarax_mp.stages.loop import Loop, Turn
from datarax_mp.stages.streams import call_seeded, draw_bases, fold_words, seeded

Data = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeviceStage(Stage):
    """Apply a function to every batch on the device; it is jitted, once per shape.

    An array that goes in is donated where one of the same shape and dtype comes out, so that the device need not hold
    both. (Where host memory is aliased, as on the CPU backend, JAX copies all the same.)

    What the function reads of objects, closures and globals is constant once it has been compiled: a change of it
    afterwards counts in no later epoch either. What is to change can be a field of the records, a variable of an
    ``nnx.Module``, or another function in a new pipeline.

    Attributes:
        fn: ``dict of jax.Array (rows, ...) -> dict of jax.Array (rows, ...)``.

    >>> DeviceStage(lambda batch: {**batch, "image": batch["image"] / 255.0}).fn({"image": 255.0})
    {'image': 1.0}
    """

    rank = Rank.DEVICE

    fn: Callable[[Data], Data]


@dataclass(frozen=True, slots=True)
class RandomDeviceStage(Stage):
    """Apply a random function to every batch on the device; it is jitted, as a ``DeviceStage`` is.

    The key is made of (seed, epoch, step), so a batch's draw depends on nothing else: not on the worker count, on how
    many batches stand ready, or on where a run was resumed. Two random stages never share a key, nor do two shards that
    have arrays of their own. The seed is the pipeline's: ``Pipeline(..., seed=0)`` or ``rngs=``.

    An ``nnx.Module`` with ``nnx.Rngs`` among the stages is told the same: each of its streams is drawn from once when
    the pipeline is made, and each batch has keys made of that draw and of (seed, epoch, step). Its streams themselves
    do not move on with batches.

    Attributes:
        fn: ``(dict of jax.Array (rows, ...), key) -> dict of jax.Array (rows, ...)``.
        per_record: whether it gets keys ``(rows,)``, for ``jax.vmap``, each made of (seed, epoch, record). Then a
            record's draw does not depend on ``batch_size`` either. Rows that pad a batch have keys, too.

    >>> def jitter(batch, key):
    ...     return {**batch, "x": batch["x"] + jax.random.normal(key, batch["x"].shape)}
    >>> RandomDeviceStage(jitter).fn({"x": jax.numpy.zeros(3)}, jax.random.key(0))["x"].shape
    (3,)
    """

    rank = Rank.DEVICE
    random = True

    fn: Callable[[Data, jax.Array], Data]
    per_record: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ModuleStage(Stage):
    """An ``nnx.Module`` among the stages, called with every batch on the device; its changes survive.

    One that has variables is called when the user gets the batch, and has seen just the batches that he has received,
    so that a run goes on exactly from a state of both. It draws from streams of its own (see ``streams``), not from the
    pipeline's seed.

    Attributes:
        fn: the module.
    """

    rank = Rank.DEVICE

    fn: nnx.Module

    @property
    def name(self) -> str:
        """How messages and states call it: as the module's class."""
        inner = getattr(self.fn, "fn", self.fn)
        return f"{type(self.fn).__name__}({getattr(inner, '__name__', type(inner).__name__)})"

    def check(self, where: str) -> None:
        """Make sure that the module can be called."""
        if not callable(self.fn):
            raise TypeError(f"{where}: {type(self.fn).__name__} needs a callable, got {type(self.fn).__name__}")


Step: TypeAlias = Callable[[Data, Draws | None], Data]


@dataclass(frozen=True, slots=True, eq=False)
class Fused:
    """Some of a pipeline's device stages, one behind the other, in one compiled function.

    Attributes:
        once: what it does to a batch.
        turn: the same as the turn of a loop, ``(None, *module, (data, draws)) -> (None, data)``.
        module: the module that it is, or None.
    """

    once: Step
    turn: Turn
    module: nnx.Module | None = None

    def __call__(self, data: Data, draws: Draws | None) -> Data:
        """Apply them."""
        return self.once(data, draws)


@dataclass(frozen=True, slots=True)
class DeviceStages:
    """All device stages of a pipeline in order, as one function.

    Attributes:
        steps: what is called, one after the other.
        random: whether it has to be given draws.
        per_record: whether these have to have the records' numbers.
        change: whether a module among them may change with every batch: it has variables beside its streams.
    """

    steps: tuple[Fused, ...]
    random: bool
    per_record: bool
    change: bool

    def __call__(self, data: Data, draws: Draws | None = None) -> Data:
        """Apply them to a batch's arrays."""
        for step in self.steps:
            data = step(data, draws)
        return data

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Whatever they are given in here, the variables of their modules are afterwards as they were."""
        modules = tuple(step.module for step in self.steps if step.module is not None)
        before = jax.tree.map(lambda array: array, nnx.state(modules))  # a copy of what holds the arrays
        try:
            yield
        finally:
            nnx.update(modules, before)

    def several(self, data: Data, draws: Draws | None, count: int) -> Data:
        """Apply them to the first ``count`` of several batches in turn, whose arrays are ``(room, rows, ...)``."""
        for step in self.steps:
            modules = () if step.module is None else (step.module,)
            loop = Loop(step.turn, modules)
            held, data = loop(loop.begin(None), (data, draws), count)
            if modules:
                loop.hand_back(held)
        return data


def compile_stages(stages: Sequence[Any]) -> DeviceStages:
    """One function that applies all device stages in order; those between two modules are fused into one."""
    steps: list[Fused] = []
    random = False
    for is_module, group in itertools.groupby(enumerate(stages), lambda numbered: isinstance(numbered[1], ModuleStage)):
        if not is_module:
            # Only a random stage's place counts, so that others are compiled once wherever they stand.
            steps.append(_jitted(tuple((place if stage.random else 0, stage) for place, stage in group)))
            continue
        for module in (stage.fn for _, stage in group):
            bases = draw_bases(module)
            once = partial(_call_seeded, module, bases) if bases else partial(_call_plain, module)
            steps.append(Fused(once, _SeededTurn(tuple(bases)) if bases else _plain_turn, module))
            random = random or bool(bases)
    drawing = [stage for stage in stages if stage.random]
    change = any(step.module is not None and bool(nnx.state(step.module, nnx.Not(nnx.RngState))) for step in steps)
    return DeviceStages(tuple(steps), random or bool(drawing), any(stage.per_record for stage in drawing), change)


# One per stages, not one per pipeline: a script that makes a pipeline per epoch would compile in every epoch.
@lru_cache(maxsize=32)
def _jitted(stages: tuple[tuple[int, Any], ...]) -> Fused:
    function = _composed(stages)
    composed = jax.jit(function)  # so that it is traced once, for the plan and for the run
    plans: dict[Any, _Plan] = {}
    random = any(stage.random for _, stage in stages)

    @partial(jax.jit, static_argnums=3, donate_argnums=0)
    def run(donated: list[jax.Array], others: list[jax.Array], draws: Draws | None, plan: _Plan) -> Data:
        parts = {True: iter(donated), False: iter(others)}
        return composed(plan.structure.unflatten([next(parts[donate]) for donate in plan.donate]), draws)

    def apply(data: Data, draws: Draws | None) -> Data:
        draws = draws if random else None
        leaves, structure = jax.tree.flatten(data)
        key = structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
        if (plan := plans.get(key)) is None:
            plan = plans[key] = _Plan(structure, _donatable(leaves, jax.eval_shape(composed, data, draws)))
        donated = list(itertools.compress(leaves, plan.donate))
        others = [leaf for leaf, donate in zip(leaves, plan.donate, strict=True) if not donate]
        return run(donated, others, draws, plan)

    return Fused(apply, lambda _, item: (None, function(*item)))


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


def _composed(stages: tuple[tuple[int, Any], ...]) -> Step:
    def apply(data: Data, draws: Draws | None) -> Data:
        for place, stage in stages:
            if stage.random:
                assert draws is not None
                data = stage.fn(data, _keys(stage, place, draws))
            else:
                data = stage.fn(data)
        return data

    return apply


def _keys(stage: RandomDeviceStage, place: int, draws: Draws) -> jax.Array:
    """The key of a random stage for a batch, or its keys ``(rows,)`` for the batch's records."""
    low, high = draws.words[2:] if stage.per_record else draws.words[:2]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(low), high), place)
    return jax.vmap(partial(fold_words, key))(draws.records) if stage.per_record else key


def _call_plain(module: nnx.Module, data: Data, draws: Draws | None) -> Data:
    return _call_module(module, data)


def _call_seeded(module: nnx.Module, bases: list[jax.Array], data: Data, draws: Draws | None) -> Data:
    assert draws is not None
    return call_seeded(module, bases, draws.words, data)


def _plain_turn(carry: None, module: Any, item: tuple[Data, Draws | None]) -> tuple[None, Data]:
    return None, module(item[0])


@dataclass(frozen=True, slots=True, eq=False)
class _SeededTurn:
    """A module whose streams are set anew for every batch, as the turn of a loop."""

    bases: tuple[jax.Array, ...]

    def __call__(self, carry: None, module: Any, item: tuple[Data, Draws | None]) -> tuple[None, Data]:
        data, draws = item
        assert draws is not None
        return None, seeded(module, list(self.bases), draws.words, data)


_call_module: Callable[[nnx.Module, Data], Data] = nnx.jit(lambda module, data: module(data))
