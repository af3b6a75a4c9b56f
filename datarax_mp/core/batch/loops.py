"""Batches in compiled control flow. As in every trace, metadata stay behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from datarax_mp.core.batch.batch import Batch


def conditional_transform(
    batch: Batch, true_fn: Callable[[Batch], Any], false_fn: Callable[[Batch], Any], condition: Any
) -> Any:
    """One of two functions of a batch, by a bool that may be traced (``jax.lax.cond``).

    Args:
        batch: what the function gets.
        true_fn: which it is if the condition holds.
        false_fn: which it is if not; both return the same shapes and dtypes, a Batch as a rule.
        condition: a bool, or a bool array ``()``.

    >>> batch = Batch.from_parts({"x": jax.numpy.arange(3)})
    >>> conditional_transform(batch, lambda batch: batch, lambda batch: batch.slice(0, 3), True)["x"].tolist()
    [0, 1, 2]
    """
    return jax.lax.cond(condition, true_fn, false_fn, batch)


def iterative_transform(batch: Batch, fn: Callable[[Batch, Any], Batch], num_iterations: Any) -> Batch:
    """A function applied to a batch again and again, in one compiled loop (``jax.lax.fori_loop``).

    Args:
        batch: what it gets first.
        fn: ``fn(batch, i)`` returns a Batch of the same shapes and dtypes; ``i`` is a traced int, from 0.
        num_iterations: how often; may be traced.

    >>> batch = Batch.from_parts({"x": jax.numpy.arange(3)})
    >>> def add(batch, i):
    ...     return Batch.from_parts({"x": batch["x"] + i})
    >>> iterative_transform(batch, add, 4)["x"].tolist()
    [6, 7, 8]
    """
    return jax.lax.fori_loop(0, num_iterations, lambda i, batch: fn(batch, i), batch)


def while_transform(
    batch: Batch, cond_fn: Callable[[Batch], Any], body_fn: Callable[[Batch], Batch], max_iterations: Any = 100
) -> Batch:
    """A function applied to a batch for as long as something holds of it, in one compiled loop.

    Args:
        batch: what it gets first.
        cond_fn: a bool of a Batch, asked before each time.
        body_fn: returns a Batch of the same shapes and dtypes.
        max_iterations: how often at most.

    >>> batch = Batch.from_parts({"x": jax.numpy.ones(2)})
    >>> def double(batch):
    ...     return Batch.from_parts({"x": batch["x"] * 2})
    >>> while_transform(batch, lambda batch: batch["x"].sum() < 10, double)["x"].tolist()
    [8.0, 8.0]
    """

    def goes_on(carry: Any) -> Any:
        done, batch = carry
        return (done < max_iterations) & cond_fn(batch)

    def go_on(carry: Any) -> Any:
        done, batch = carry
        return done + 1, body_fn(batch)

    return jax.lax.while_loop(goes_on, go_on, (0, batch))[1]
