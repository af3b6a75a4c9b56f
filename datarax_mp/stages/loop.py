"""Several batches through one function in one compiled loop.

The loop has a number of turns that is no part of what is compiled, so one compilation serves every number up to the
arrays' length. Its body is the function as it would be jitted alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias

import jax
from flax import nnx
from jax import lax

Turn: TypeAlias = Callable[..., tuple[Any, Any]]
"""``(carry, *modules, item) -> (carry, out)``"""


class Loop:
    """Calls a function in a compiled loop; its modules' changes are kept here until they are handed back.

    Args:
        turn: the function.
        modules: what it is given beside the carry and an item.
        carry: what it begins with.

    Attributes:
        carry: what the newest turn has given.
    """

    def __init__(self, turn: Turn, modules: tuple[nnx.Module, ...], carry: Any) -> None:
        self._run = _compiled(turn)
        self._modules, self.carry = modules, carry
        self._graph, self.state = nnx.split(modules)

    def __call__(self, items: Any, count: Any) -> Any:
        """Take the first items in turn.

        Args:
            items: a pytree of arrays ``(room, ...)``.
            count: how many of them are items.

        Returns:
            What the function gave, arrays ``(room, ...)`` of which the first ``count`` have a meaning.
        """
        (self.carry, self.state), outs = self._run(self._graph, self.state, self.carry, items, count)
        return outs

    def hand_back(self) -> None:
        """Make the modules what they have become."""
        nnx.update(self._modules, self.state)


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
