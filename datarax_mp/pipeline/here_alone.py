"""What belongs to one process: workers, memory, a position in a stream."""

from __future__ import annotations

from typing import Any


class HereAlone:
    """Neither pickles nor can be copied, and says what can be sent instead."""

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError(
            f"a {type(self).__name__} can be neither pickled nor copied: its workers and its memory belong to this "
            "process. Take the source, the stages and what get_state() gives; a Pipeline of these, made where it is "
            "wanted, goes on at the same place after set_state(state)"
        )
