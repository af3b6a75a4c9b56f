"""The steps of ``Pipeline.scan``: chunks of batches through a compiled loop, their outputs put one after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from datarax_mp.core.batch.batch import make_batch
from datarax_mp.delivery.stacked import Chunk
from datarax_mp.feed.chunks import Chunks
from datarax_mp.stages.loop import Held, Loop, Turn

_MOST_STEPS = 64  # in a chunk
_AHEAD = 2  # chunks that the device may have before it, each of which holds its batches


class Scanned:
    """A scan on its way; its modules stay as they were until ``hand_back``.

    Args:
        step_fn: see ``Pipeline.scan``.
        modules: see there.
        init_carry: see there.
        length: how many steps.

    Attributes:
        length: see above.

    Raises:
        TypeError: ``step_fn`` is not callable, or a module is none.
    """

    def __init__(self, step_fn: Callable[..., Any], modules: Sequence[Any], init_carry: Any, length: int) -> None:
        if not callable(step_fn):
            raise TypeError(f"scan needs a function, got {type(step_fn).__name__}")
        if not isinstance(modules, (list, tuple)) or not all(isinstance(module, nnx.Pytree) for module in modules):
            raise TypeError(f"modules must be a list of nnx.Module objects, got {modules!r}")
        self._carries = init_carry is not None
        carry = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), init_carry)  # no weak types
        self._loop = Loop(_turn(step_fn, self._carries), tuple(modules))
        # One value, so that an exception finds the steps that are counted in the modules, and no others.
        self._done: tuple[Held, int] = self._loop.begin(carry), 0
        self._ahead: deque[Any] = deque()
        self._outs: Any = None
        self.length = length
        self._most = min(_MOST_STEPS, length)

    @property
    def left(self) -> int:
        """How many steps are still to be taken."""
        return self.length - self._done[1]

    def chunks(self, step: int, epoch: int) -> Chunks:
        """How steps are to come together, from one of an epoch on."""
        return Chunks(self._most, start=step - self._done[1], epoch=epoch, every=self.length, filled=True)

    def take(self, chunk: Chunk) -> None:
        """Take the steps of a chunk, of which there are at most as many as are left."""
        held, done = self._done
        held, outs = self._loop(held, (chunk.data, chunk.mask), chunk.steps)
        if self._outs is None:
            self._outs = _space(outs, self.length + self._most)
        _check_alike(self._outs, outs)
        self._outs = _put(self._outs, outs, done)
        self._done = held, done + chunk.steps
        self._ahead.append((held, outs))
        if len(self._ahead) > _AHEAD:
            jax.block_until_ready(self._ahead.popleft())

    def result(self) -> Any:
        """What ``scan`` returns."""
        outs = jax.tree.map(lambda out: out[: self.length], self._outs)
        return (self._done[0].carry, outs) if self._carries else outs

    def hand_back(self) -> None:
        """Make the modules what has become of them; it may be done again."""
        self._loop.hand_back(self._done[0])


@lru_cache(maxsize=64)
def _turn(step_fn: Callable[..., Any], carries: bool) -> Turn:
    """A step as the turn of a loop; one for each function, which is compiled once."""

    def turn(carry: Any, *rest: Any) -> tuple[Any, Any]:
        *modules, (data, mask) = rest
        batch = make_batch(data, len(jax.tree.leaves(data)[0]), list, mask)
        if not carries:
            return None, step_fn(*modules, batch)
        result = step_fn(carry, *modules, batch)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(f"with init_carry a step returns (carry, out), and not a {type(result).__name__}")
        carry, out = result
        return carry, out

    return turn


@partial(jax.jit, static_argnums=1)
def _space(outs: Any, steps: int) -> Any:
    """Room for the outputs of so many steps, those of the last chunk that have no meaning among them."""
    return jax.tree.map(lambda out: jnp.zeros((steps, *out.shape[1:]), out.dtype), outs)


@partial(jax.jit, donate_argnums=0)
def _put(all_: Any, outs: Any, at: Any) -> Any:
    return jax.tree.map(lambda into, out: jax.lax.dynamic_update_slice_in_dim(into, out, at, 0), all_, outs)


def _check_alike(all_: Any, outs: Any) -> None:
    for into, out in zip(jax.tree.leaves(all_), jax.tree.leaves(outs), strict=True):
        if into.shape[1:] != out.shape[1:]:
            raise ValueError(
                f"a step has returned an array {out.shape[1:]}, and earlier ones {into.shape[1:]}, which cannot be "
                "stacked: with a shorter last batch, set drop_last=True or pad_last=True"
            )
