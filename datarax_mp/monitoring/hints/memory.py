"""Little memory left, before the kernel kills a process for it."""

from __future__ import annotations

from datarax_mp.monitoring.hints.look import Look

_LITTLE = 0.05  # of the limit


def hint(look: Look) -> str | None:
    """By the tightest of the limits: the control groups', or what the machine has."""
    room = look.room
    if room is None or room.size >= _LITTLE * room.limit:
        return None
    return (
        f"{room.size / 1e6:.0f} MB of {room.limit / 1e6:.0f} are left within {room.within}; where nothing is left the "
        "kernel kills a process. Fewer workers and a smaller prefetch_size hold fewer batches, memory_budget= bounds "
        "them, and `python -m datarax_mp top` says which process has how much"
    )
