"""Several batches through one function in one compiled loop.

The loop has a number of turns that is no part of what is compiled, so one compilation serves every number up to the
arrays' length. Its body is the function as it would be jitted alone, though not always what XLA makes of it: on the
CPU, dense layers give the same bits, and convolutions take some 20 times as long as outside a loop (in ``lax.scan``,
too).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import jax
from flax import nnx
from jax import lax

Turn: TypeAlias = Callable[..., tuple[Any, Any]]
"""``(carry, *modules, item) -> (carry, out)``"""


class Held(NamedTuple):
    """What goes from turn to turn.

    Attributes:
        carry: the function's carry.
        state: that of its modules.
    """

    carry: Any
    state: Any


class Loop:
    """Calls a function in a compiled loop; its modules stay as they are until ``hand_back``.

    Args:
        turn: the function.
        modules: what it is given beside the carry and an item.
    """

    def __init__(self, turn: Turn, modules: tuple[nnx.Module, ...]) -> None:
        self._run, self._modules = _compiled(turn), modules
        self._graph, self._state = nnx.split(modules)

    def begin(self, carry: Any) -> Held:
        """What the first turn is given."""
        return Held(carry, self._state)

    def __call__(self, held: Held, items: Any, count: Any) -> tuple[Held, Any]:
        """Take the first items in turn.

        Args:
            held: what the turn before has left.
            items: a pytree of arrays ``(room, ...)``.
            count: how many of them are items.

        Returns:
            What the last turn leaves; and what the function gave, arrays ``(room, ...)`` of which the first ``count``
            have a meaning.
        """
        (carry, state), outs = self._run(self._graph, held.state, held.carry, items, count)
        return Held(carry, state), outs

    def hand_back(self, held: Held) -> None:
        """Make the modules what they have become."""
        nnx.update(self._modules, held.state)


@lru_cache(maxsize=64)
def _compiled(turn: Turn) -> Callable[..., Any]:
    """One for each function, as ``jax.jit`` has."""

    @partial(jax.jit, static_argnums=0)
    def run(graph: Any, state: Any, carry: Any, items: Any, count: Any) -> Any:
        def once(held: Any, item: Any) -> Any:
            carry, state = held
            modules = nnx.merge(graph, state)
            carry, out = turn(carry, *modules, item)
            return (carry, nnx.state(modules)), out

        def body(place: Any, kept: Any) -> Any:
            held, outs = kept
            item = jax.tree.map(lambda array: lax.dynamic_index_in_dim(array, place, keepdims=False), items)
            held, out = once(held, item)
            return held, jax.tree.map(lambda all_, one: lax.dynamic_update_index_in_dim(all_, one, place, 0), outs, out)

        room = len(jax.tree.leaves(items)[0])
        first = jax.tree.map(lambda array: array[0], items)
        shapes = jax.eval_shape(once, (carry, state), first)[1]
        outs = jax.tree.map(lambda out: jax.numpy.zeros((room, *out.shape), out.dtype), shapes)
        return lax.fori_loop(0, count, body, ((carry, state), outs))

    return run
