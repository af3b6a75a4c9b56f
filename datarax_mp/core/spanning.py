"""Arrays that lie on the devices of several JAX processes, each of which holds some of the rows."""

from __future__ import annotations

from typing import Any


def spans_processes(placed: Any) -> bool:
    """Whether an array is, or arrays of a sharding are, partly on devices of other processes."""
    if placed is None:
        return False
    import jax  # delayed: without a sharding there is no need for it

    return not isinstance(placed, jax.core.Tracer) and not getattr(placed, "is_fully_addressable", True)


def row_sharding(sharding: Any) -> Any:
    """The sharding of an array ``(rows,)`` whose rows lie as those of arrays with this ``NamedSharding`` do."""
    import jax  # delayed, as above

    rows = jax.sharding.PartitionSpec(*sharding.spec[:1])
    return jax.sharding.NamedSharding(sharding.mesh, rows, memory_kind=sharding.memory_kind)


def check_whole(leaves: list[Any]) -> None:
    """Make sure that a batch's rows can be picked here.

    Raises:
        ValueError: they are spread over several processes.
    """
    if any(spans_processes(leaf) for leaf in leaves):
        raise ValueError(
            "this batch's rows are spread over several processes, and its metadata describe those of this one: work on "
            "its arrays, batch['...'], or on their addressable_shards"
        )
