"""The items that have come out of a lane, as those see them who make rows of records."""

from __future__ import annotations

from typing import Any, NamedTuple

from datarax_mp.core.record import RecordError
from datarax_mp.recipe.reading import Reader
from datarax_mp.recipe.recipe import Recipe


class Broken(NamedTuple):
    """What stands for a record that is to be skipped."""

    error: Exception


class LanesEnded(RecordError):
    """There is no further record to learn from: all lanes have ended, or filters leave none."""


class LaneView:
    """The items of a batch, as a source that is asked for them by number.

    Attributes:
        items: what there is, by number.
    """

    def __init__(self) -> None:
        self.items: dict[int, Any] = {}

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        item = self.items[number]
        if isinstance(item, Broken):
            raise item.error
        return item


class LaneReader(Reader):
    """Gives items that have been read, with all that belongs to that, when the batch was taken out of its lane.

    Args:
        recipe: the recipe.
        view: has the items.
    """

    def __init__(self, recipe: Recipe, view: LaneView) -> None:
        super().__init__(recipe, view)
        self._view = view

    def one(self, number: int) -> Any:
        """See ``Reader``; what reading has raised is raised here, where records may be skipped."""
        return self._view[number]
