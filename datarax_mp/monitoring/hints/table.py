"""Which hints there are. A new one is a line here and a module of its name beside this."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

from datarax_mp.monitoring.hints import cores, float64, memory, rows, start, workers
from datarax_mp.monitoring.hints.look import Look

Hint: TypeAlias = Callable[[Look], str | None]

HINTS: Mapping[str, Hint] = MappingProxyType(
    {
        "cores": cores.hint,
        "float64": float64.hint,
        "memory": memory.hint,
        "rows": rows.hint,
        "start": start.hint,
        "workers": workers.hint,
    }
)
