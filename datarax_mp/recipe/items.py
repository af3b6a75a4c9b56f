"""The items of a record, where a ``FlatMap`` makes several of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from datarax_mp.core.record import RecordError
from datarax_mp.core.strays import claim
from datarax_mp.order.expansion import ItemNumber
from datarax_mp.recipe.reading import Reader
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import here


def expand(stages: Sequence[Any], record: Any, at: Callable[[int], object] = lambda place: None) -> list[Any]:
    """What stages make of a record: itself, changed; nothing, if a filter leaves it out; or several.

    Args:
        stages: stages for records, none of them random.
        record: the record.
        at: told of the place of each stage before it works.
    """
    records = [record]
    for place, stage in enumerate(stages):
        at(place)
        if stage.expands:
            records = [output for one in records for output in stage.outputs(one)]
        elif stage.decides:
            records = [one for one in records if stage.fn(one)]
        else:
            records = [stage.fn(one) for one in records]
    return records


class ItemReader(Reader):
    """Reads items as others read records: a record, and the stages that its items come of.

    A record is read once for all of its items in a batch.

    Args:
        recipe: says of what source, and which stages.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(recipe)
        self._many = None  # a batch's records are read when their turn comes
        self._stages = recipe.until_items
        self._wanted: Counter[int] = Counter()  # for how many more items of the batch each record is wanted
        self._items: dict[int, list[Any]] = {}  # of the records that are wanted again

    def expect(self, numbers: list[int]) -> None:
        """See ``Reader``."""
        self._items.clear()
        self._wanted = Counter(number.record for number in numbers if isinstance(number, ItemNumber))

    def one(self, number: int) -> Any:
        """See ``Reader``.

        Raises:
            RecordError: the record gives fewer items than when they were counted.
        """
        assert isinstance(number, ItemNumber)
        record = number.record
        items = self._items.pop(record, None)
        if items is None:
            items = self._expanded(number)
        self._wanted[record] -= 1
        if self._wanted[record] > 0:
            self._items[record] = items
        if number.place >= len(items):
            raise RecordError(
                f"record {record}: expected more than {number.place} items, as when they were counted, found "
                f"{len(items)}. The stages up to the last FlatMap or Filter must give the same ones every time"
            )
        return read_only(items[number.place])

    def _expanded(self, number: ItemNumber) -> list[Any]:
        found, now = super().one(number.record), 0

        def at(place: int) -> None:
            nonlocal now
            now = place
            here.stage(place, number)

        try:
            return expand(self._stages, found, at)
        except BaseException as error:
            claim(error, f"while stage {self._stages[now].name} worked on record {number.record}")
            raise


def read_only(value: Any) -> Any:
    """The same record with arrays that cannot be written to: what one item's stages changed would be in the next."""
    if isinstance(value, np.ndarray):
        if not value.flags.writeable:
            return value
        view = value.view()
        view.flags.writeable = False
        return view
    if type(value) is not dict and not isinstance(value, Mapping):
        return value
    return {name: read_only(part) for name, part in value.items()}


def reader_of(recipe: Recipe) -> Reader:
    """What reads the records, or items, of a recipe's epochs."""
    return Reader(recipe) if recipe.order.expansion is None else ItemReader(recipe)
