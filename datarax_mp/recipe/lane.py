"""A lane at work: records as its iterator gives them, in windows, through filters, as items of batches.

    iterator --window of records--> permuted --stages up to the last Filter or FlatMap--> items --> a batch's rows

What is held is the window, and the items of the record that is being used up. Where a lane stands (``LaneCursor``) is
where it was when the window began, and how much of the window is used up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from datarax_mp.core.record import RecordError, name_fields
from datarax_mp.core.strays import claim, is_stray
from datarax_mp.order.lanes import LaneCursor, LaneOrder
from datarax_mp.recipe.items import expand_here, read_only
from datarax_mp.recipe.lane_view import Broken, LanesEnded, LaneView
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.recipe.recorder import here
from datarax_mp.sources.cursors import Stream
from datarax_mp.sources.hugging_face import has_shuffle_buffer
from datarax_mp.sources.iterable import IterableSource

log = logging.getLogger("datarax_mp")

_FRUITLESS = 64  # with on_error="skip": an iterator that raises so many times in a row will not stop


class Item(NamedTuple):
    """What becomes a row, or Broken, and its number."""

    number: int
    value: Any


class Lane:
    """See the module.

    Args:
        recipe: what is done to records; its order is one of lanes.
        epoch: the epoch.
        number: which lane.
        cursor: where to begin.

    Attributes:
        number: see above.
        epoch: see above.
        cursor: where it stands after the last batch.

    Raises:
        RecordError: there are fewer records than where it is to begin.
        Exception: what the iterator raised.
    """

    def __init__(self, recipe: Recipe, epoch: int, number: int, cursor: LaneCursor) -> None:
        assert isinstance(recipe.order, LaneOrder) and isinstance(recipe.source, IterableSource)
        self._recipe, self._order, self._source = recipe, recipe.order, recipe.source
        self._head = recipe.until_items
        # Only where it can stand in the middle of a window is it asked where that begins.
        self._marks = self._order.lines.window > 1 or any(stage.expands for stage in self._head)
        self._stride = self._order.number(0, 1, 0)  # from a record's number to that of the lane's next one
        self._plain = self._order.lines.window == 1 and not self._head and recipe.reading.fields is None
        self.epoch, self.number, self.cursor = epoch, number, cursor
        self._records, self._state = cursor.records, cursor.state
        self._window: list[tuple[int, Any]] = []
        self._place = self._used = self._fruitless = 0
        self._items: list[Item] | None = None
        self._over = cursor.ended
        self._stream = self._open(cursor)
        if cursor.state is None:
            self._pass_over(cursor.records)
        if cursor.place or cursor.item:
            self._read_window()
            if cursor.place >= len(self._window):
                raise self._differs(cursor.records + cursor.place)
            self._place, self._used = cursor.place, cursor.item

    def batch(self, rows: int) -> list[Item]:
        """The next items, so many or, where the lane ends, fewer."""
        found = self._as_they_come(rows) if self._plain else self._out_of_windows(rows)
        self.cursor = self._stands()
        return found

    def _as_they_come(self, rows: int) -> list[Item]:
        """The same where records are items, one by one."""
        found: list[Item] = []
        for index in range(self._records, self._records + rows):
            if (one := self._read(index)) is None:
                self._over = True
                break
            found.append(Item(index * self._stride + self.number, one[1]))
        self._records += len(found)
        return found

    def _out_of_windows(self, rows: int) -> list[Item]:
        found: list[Item] = []
        while len(found) < rows and (items := self._at_hand()) is not None:
            some = items[self._used : self._used + rows - len(found)]
            found += some
            self._used += len(some)
            if self._used == len(items):
                self._next()
        return found

    def _open(self, cursor: LaneCursor) -> Stream:
        here.read()
        try:
            made = self._source.make(self.number, self._source.lanes)
        except BaseException as error:
            claim(error, f"while make({self.number}, {self._source.lanes}) of {self._name} was called")
            raise
        return Stream.open(made, cursor.state)

    def _pass_over(self, records: int) -> None:
        """Read the records that were read before: of an iterator that has no state, there is no other way."""
        for passed in range(records):
            if self._read(passed) is None:
                raise self._differs(records)

    @property
    def loses(self) -> bool:
        """Whether records are lost where another one goes on from its cursor."""
        return has_shuffle_buffer(self._stream.keeper)

    @property
    def _name(self) -> str:
        return type(self._source).__name__

    def _differs(self, records: int) -> RecordError:
        return RecordError(
            f"lane {self.number} of {self._name}: expected more than {records} records, as when it was read before, "
            "found its end. make must give the same records every time"
        )

    def _at_hand(self) -> list[Item] | None:
        """The items of the record that is being used up; None at the end."""
        while True:
            if self._place == len(self._window) and not self._read_window():
                return None
            if self._items is None:
                self._items = self._expanded(*self._window[self._place])
            if self._used < len(self._items):
                return self._items
            if self._used > len(self._items):
                raise self._differs(self._records + self._place)
            self._next()

    def _next(self) -> None:
        self._place, self._used, self._items = self._place + 1, 0, None

    def _read_window(self) -> bool:
        """Read the next window; False if there is none."""
        if self._over:
            return False
        self._records += len(self._window)
        if self._marks and self._window:
            self._state = self._stream.state()
        size = self._order.lines.window
        records: list[tuple[int, Any]] = []
        while len(records) < size and (one := self._read(self._records + len(records))) is not None:
            records.append(one)
        self._over = len(records) < size
        if len(records) > 1:
            seed = self._order.seed
            order = self._order.lines.window_order(seed, self.epoch, self.number, self._records // size, len(records))
            records = [records[place] for place in order.tolist()]
        self._window, self._place = records, 0
        return bool(records)

    def _read(self, index: int) -> tuple[int, Any] | None:
        """The iterator's next record, with its place in the lane; None at the end."""
        here.read(index * self._stride + self.number)
        try:
            record = next(self._stream.iterator)
        except StopIteration:
            return None
        except BaseException as error:
            claim(error, f"while reading record {index} of lane {self.number} of {self._name}")
            self._fruitless += 1
            passes = self._recipe.skip and self._fruitless < _FRUITLESS and not is_stray(error)
            if passes and isinstance(error, Exception):
                return index, Broken(error)
            raise
        self._fruitless = 0
        return index, record

    def _expanded(self, index: int, record: Any) -> list[Item]:
        """The items of a record."""
        numbers = self._order.number
        first = numbers(self.number, index, 0)
        if isinstance(record, Broken):
            return [Item(first, record)]
        try:
            outputs = self._outputs(first, record)
        except Exception as error:
            if not self._recipe.skip or is_stray(error):
                raise
            return [Item(first, Broken(error))]
        if len(outputs) == 1:
            return [Item(first, outputs[0])]
        return [Item(numbers(self.number, index, place), read_only(one)) for place, one in enumerate(outputs)]

    def _outputs(self, number: int, record: Any) -> list[Any]:
        if (fields := self._recipe.reading.fields) is not None:
            record = name_fields(record, fields, self._named(number))
        if not self._head:
            return [record]
        return expand_here(self._head, [record], number, lambda: self._named(number))

    def _named(self, number: int) -> int:
        return self._order.named(np.array([number]))[0]

    def _stands(self) -> LaneCursor:
        if self._place < len(self._window):
            return LaneCursor(self._records, self._place, self._used, self._state)
        ended, records = self._over, self._records + len(self._window)
        return LaneCursor(records, state=None if ended else self._stream.state(), ended=ended)


class OpenLanes:
    """Lanes that were begun, so that they are not opened anew for every batch. Threads may share them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._lanes: list[Lane] = []  # the newest last

    def take(self, epoch: int, number: int, cursor: LaneCursor) -> Lane | None:
        """A lane that stands there, which is the caller's now."""
        with self._lock:
            for place, lane in enumerate(self._lanes):
                if (lane.epoch, lane.number, lane.cursor) == (epoch, number, cursor):
                    return self._lanes.pop(place)
        return None

    def put(self, lane: Lane) -> None:
        """Keep a lane; of two epochs, since one iterator may be begun while another is at work."""
        with self._lock:
            same = [place for place, other in enumerate(self._lanes) if other.number == lane.number]
            if len(same) > 1:
                del self._lanes[same[0]]
            if not lane.cursor.ended:
                self._lanes.append(lane)


class Examples(LaneView):
    """The first items, out of lanes that are opened for that alone, of lane 0 as long as it has any.

    Args:
        recipe: the recipe.
        epoch: the epoch.
    """

    def __init__(self, recipe: Recipe, epoch: int) -> None:
        super().__init__()
        self._coming = _first_items(recipe, epoch)
        self._name = type(recipe.source).__name__

    def __getitem__(self, number: int) -> Any:
        if number not in self.items:
            item = next(self._coming, None)
            if item is None:
                raise LanesEnded(f"{self._name} gives no record: all its lanes have ended, or filters leave none")
            self.items[number] = item.value
        return super().__getitem__(number)


def _first_items(recipe: Recipe, epoch: int) -> Iterator[Item]:
    assert isinstance(recipe.order, LaneOrder)
    for number in range(recipe.order.lines.lanes):
        lane = Lane(recipe, epoch, number, LaneCursor())
        if number == 0 and lane.loses:
            log.warning(
                "%s: the stream has a shuffle buffer, .shuffle(buffer_size=), whose records are in no state: they are "
                "lost wherever a lane goes on from one, after set_state or in another worker. Leave it out, and let "
                "the pipeline shuffle, which is exact: shuffle=ShuffleWindow(records=n)",
                type(recipe.source).__name__,
            )
        while items := lane.batch(1):
            yield from items
