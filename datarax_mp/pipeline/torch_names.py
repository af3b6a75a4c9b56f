"""The state under the names that torch, Lightning and torchdata ask for."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any


class TorchNames:
    """``state_dict`` and ``load_state_dict`` beside ``get_state`` and ``set_state``."""

    @abstractmethod
    def get_state(self) -> dict[str, Any]:
        """The position."""

    @abstractmethod
    def set_state(self, state: dict[str, Any], *, elastic: bool = False) -> None:
        """Go to a position."""

    def state_dict(self) -> dict[str, Any]:
        """What ``get_state`` gives.

        >>> from datarax_mp import Pipeline
        >>> pipeline = Pipeline(source={"x": [1, 2, 3]}, batch_size=1)
        >>> batch = next(iter(pipeline))
        >>> again = Pipeline(source={"x": [1, 2, 3]}, batch_size=1)
        >>> again.load_state_dict(pipeline.state_dict())
        >>> [batch["x"].tolist() for batch in again]
        [[2], [3]]
        """
        return self.get_state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What ``set_state`` does.

        Raises:
            TypeError: it is no state.
            ValueError: it belongs to another pipeline; the message names what differs.
        """
        self.set_state(state_dict)
