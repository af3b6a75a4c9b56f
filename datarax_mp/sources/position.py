"""Where a source stands."""

from __future__ import annotations

from typing import Any


class Number:
    """An int that is an ``nnx.Variable`` to whoever asks for one; until then nothing of NNX is imported.

    >>> number = Number(3)
    >>> number.variable().set_value(5)
    >>> number.get()
    5
    """

    def __init__(self, value: int = 0) -> None:
        self._value: Any = value

    def get(self) -> int:
        """Its value."""
        return self._value if type(self._value) is int else int(self._value.get_value())

    def set(self, value: int) -> None:
        """Change it, in the Variable, too."""
        if type(self._value) is int:
            self._value = value
        else:
            self._value.set_value(value)

    def variable(self) -> Any:
        """The Variable, always the same one."""
        if type(self._value) is int:
            from flax import nnx  # delayed: workers have sources, and never ask

            self._value = nnx.Variable(self._value)
        return self._value

    def __reduce__(self) -> Any:
        return Number, (self.get(),)
