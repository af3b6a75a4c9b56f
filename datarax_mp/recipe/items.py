"""The items of a record, where a ``FlatMap`` makes several of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from datarax_mp.core.record import RecordError
from datarax_mp.core.strays import claim
from datarax_mp.order.expansion import ItemNumber
from datarax_mp.recipe.cached import CachedReader
from datarax_mp.recipe.lane_view import LaneReader, LaneView
from datarax_mp.recipe.reading import Reader
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.record_stages import RecordStages
from datarax_mp.recipe.recorder import here
from datarax_mp.sources.adapt import Source
from datarax_mp.sources.own_copy import own_copy


def expand(stages: Sequence[Any], records: list[Any], at: Callable[[int], object] = lambda place: None) -> list[Any]:
    """What stages make of a record: itself, changed; nothing, if a filter leaves it out; or several.

    Args:
        stages: stages for records, none of them random.
        records: the record; or what stages before these have made of it.
        at: told of the place of each stage before it works.
    """
    records = [one.copy() if type(one) is dict else one for one in records]  # as ``RecordStages`` does
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
        source: see ``Reader``.
        records: reads records, and gives of each what the first of the stages make of it, a list; or None.
        first: how many of the stages it has seen to.
    """

    def __init__(
        self, recipe: Recipe, source: Source | None = None, records: Reader | None = None, first: int = 0
    ) -> None:
        super().__init__(recipe, source)
        self._many = self._into = None  # a batch's records are read when their turn comes
        self._records = records
        self._first, self._stages = first, recipe.until_items[first:]
        self._wanted: defaultdict[int, list[int]] = defaultdict(list)  # the items that are to come, by record
        self._items: dict[int, list[Any]] = {}  # of the records that are wanted again
        self._copied: set[int] = set()  # those among them that lie in no buffer of the source's or a stage's

    def expect(self, numbers: list[int]) -> None:
        """See ``Reader``."""
        self._items.clear()
        self._copied.clear()
        self._wanted.clear()
        for number in numbers:
            if isinstance(number, ItemNumber):
                self._wanted[number.record].append(number.place)

    def one(self, number: int) -> Any:
        """See ``Reader``.

        Raises:
            RecordError: the record gives fewer items than when they were counted.
        """
        assert isinstance(number, ItemNumber)
        record = number.record
        items = self._items.pop(record, None)
        if items is None:
            self._copy_kept()
            items = self._expanded(number)
        wanted = self._wanted[record]
        if number.place in wanted:
            wanted.remove(number.place)
        if wanted:
            self._items[record] = items
        if number.place >= len(items):
            raise RecordError(
                f"record {record}: expected more than {number.place} items, as when they were counted, found "
                f"{len(items)}. The stages up to the last FlatMap or Filter must give the same ones every time"
            )
        return read_only(items[number.place])

    def _copy_kept(self) -> None:
        """Before another record is read, which may come to lie where the items lie that are wanted again."""
        for record in self._items.keys() - self._copied:
            wanted = set(self._wanted[record])
            self._items[record] = [
                own_copy(item) if place in wanted else None for place, item in enumerate(self._items[record])
            ]
            self._copied.add(record)

    def _expanded(self, number: ItemNumber) -> list[Any]:
        found = [super().one(number.record)] if self._records is None else self._records.one(number.record)
        return expand_here(self._stages, found, number, lambda: number.record, first=self._first)


def expand_here(
    stages: Sequence[Any], records: list[Any], number: int, named: Callable[[], int], *, first: int = 0
) -> list[Any]:
    """The same where others look at what this process is at; an exception says where it happened.

    Args:
        stages: see ``expand``.
        records: see ``expand``.
        number: the record's or item's number.
        named: asked for what a message calls the record.
        first: how many stages come before these.

    Raises:
        Exception: what a stage raised.
    """
    now = 0

    def at(place: int) -> None:
        nonlocal now
        now = place
        here.stage(first + place, number)

    try:
        return expand(stages, records, at)
    except BaseException as error:
        claim(error, f"while stage {stages[now].name} worked on record {named()}")
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


def reader_of(recipe: Recipe, source: Source | None = None) -> Reader:
    """What reads the records, or items, of a recipe's epochs; of ``source``, where that stands for the recipe's own."""
    if isinstance(source, LaneView):
        return LaneReader(recipe, source)
    home, expanded = recipe.cache, recipe.order.expansion is not None
    if home is None:
        return (ItemReader if expanded else Reader)(recipe, source)
    if expanded and not home.by_item(recipe):
        before = recipe.stages[: home.before]
        records = CachedReader(
            recipe,
            Reader(recipe, source),
            lambda number, record: expand_here(before, [record], number, lambda: number),
        )
        return ItemReader(recipe, source, records, home.before)
    reader, first = (ItemReader(recipe, source), len(recipe.until_items)) if expanded else (Reader(recipe, source), 0)
    stages = RecordStages(recipe, first, home.before)
    return CachedReader(recipe, reader, lambda number, record: stages.apply(number, record, {}))
