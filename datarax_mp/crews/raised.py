"""An exception that was raised in this process, as an answer carries it."""

from __future__ import annotations

from datarax_mp.core.errors import RemoteError


class Raised(RemoteError):
    """It needs no packing for a journey: the caller gets the very object."""

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "_error", error)

    def restore(self) -> BaseException:
        """The exception."""
        return self._error  # type: ignore[attr-defined, no-any-return]
