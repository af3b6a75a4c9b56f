"""An exception that was raised in this process, as an answer carries it."""

from __future__ import annotations

from datarax_mp.core.errors import RemoteError, no_end


class Raised(RemoteError):
    """It needs no packing for a journey: the caller gets the very object."""

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "_error", error)

    def restore(self) -> BaseException:
        """The exception, or what stands for one that would end the caller's loop."""
        return no_end(self._error)  # type: ignore[attr-defined]
