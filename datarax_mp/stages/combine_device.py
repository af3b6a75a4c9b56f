"""Combinations of device stages: see ``combine``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from datarax_mp.stages.combined import Chained, name_of
from datarax_mp.stages.device import Data, DeviceStage, ModuleStage, RandomDeviceStage


def combined_on_device(
    kind: str, members: tuple[Any, ...], shares: tuple[float, ...]
) -> DeviceStage | RandomDeviceStage:
    """The stage that a combination of device stages is.

    Raises:
        TypeError: a module is among them.
    """
    for member in members:
        if isinstance(member, ModuleStage):
            raise TypeError(
                f"{kind}: {member.name}, a module, cannot be a part of another stage; let it call the others"
            )
    drawing = [member for member in members if member.random]
    if not shares and not drawing:
        return DeviceStage(Chained(members))
    each = bool(drawing) and all(member.per_record for member in drawing)
    return RandomDeviceStage(CombinedOnDevice(kind, members, shares, each), per_record=each)


@dataclass(frozen=True, slots=True)
class CombinedOnDevice:
    """Device stages of which some are applied, as a function that draws from a key, or from one for each record.

    Attributes:
        kind: which combination it is.
        members: the stages.
        shares: how often each is drawn; none is all of them in turn.
        each: whether there is a key for each record.
    """

    kind: str
    members: tuple[Any, ...]
    shares: tuple[float, ...]
    each: bool

    @property
    def called(self) -> str:
        """How states and messages call it."""
        return name_of(self.kind, self.members)

    def __call__(self, data: Data, key: jax.Array) -> Data:
        """Apply those that are drawn."""
        if not self.shares:
            for place in range(len(self.members)):
                data = self._apply(place, data, key)
            return data
        bounds = jnp.cumsum(jnp.array(self.shares[:-1], jnp.float32))
        draw = jax.random.uniform if not self.each else jax.vmap(jax.random.uniform)
        chosen = (draw(self._folded(key, 0))[..., None] >= bounds).sum(-1)
        branches = [partial(self._apply, place) for place in range(len(self.members))]
        if not self.each:
            return jax.lax.switch(chosen, branches, data, key)
        made = [branch(data, key) for branch in branches]
        self._check_alike(made)
        return jax.tree.map(lambda *leaves: _pick(chosen, leaves), *made)

    def _apply(self, place: int, data: Data, key: jax.Array) -> Data:
        member = self.members[place]
        if not member.random:
            return member.fn(data)  # type: ignore[no-any-return]
        own = self._folded(key, place + 1)
        if self.each or not member.per_record:
            return member.fn(data, own)  # type: ignore[no-any-return]
        rows = len(jax.tree.leaves(data)[0])
        return member.fn(data, jax.random.split(own, rows))  # type: ignore[no-any-return]

    def _folded(self, key: jax.Array, place: int) -> jax.Array:
        fold = partial(jax.random.fold_in, data=place)
        return jax.vmap(fold)(key) if self.each else fold(key)

    def _check_alike(self, made: list[Data]) -> None:
        kinds = [jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), data) for data in made]
        for member, kind in zip(self.members[1:], kinds[1:], strict=True):
            if kind != kinds[0]:
                raise ValueError(
                    f"{self.called}: {self.members[0].name} makes {kinds[0]}, and {member.name} {kind}, of which "
                    "none can be picked for each record: all must make the same fields, shapes and dtypes"
                )


def _pick(chosen: jax.Array, leaves: tuple[jax.Array, ...]) -> jax.Array:
    """Of each row that of the array which is chosen there."""
    picked = leaves[0]
    for place, leaf in enumerate(leaves[1:], 1):
        mine = (chosen == place).reshape(-1, *[1] * (leaf.ndim - 1))
        picked = jnp.where(mine, leaf, picked)
    return picked
