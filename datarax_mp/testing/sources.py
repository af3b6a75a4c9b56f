"""Whether a source keeps what a pipeline relies on."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datarax_mp.core.foreign import as_plain
from datarax_mp.core.record import leaves_of, nest
from datarax_mp.recipe.opened import Opened, managers
from datarax_mp.sources.adapt import as_source, quick_way
from datarax_mp.sources.blocks import BlockSource
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.sources.tables import columns_of
from datarax_mp.testing.contents import difference, number_of, of_record

_GROWTH = 200_000  # bytes, below which a source may keep what it likes


def check_source(source: Any, *, num_workers: int = 1, records: int = 32) -> None:
    """Make sure that a source of the user's own gives the same records whoever asks, in whatever order, however often.

    * its length does not change, and a negative number is an error or counts from the end
    * a record is the same when it is read again, after others
    * what is written to a record's arrays does not reach the source
    * ``__getitems__``, if there is one, gives what ``__getitem__`` gives, and ``read_into`` writes it
    * a ``BlockSource`` has the records in its blocks that it says
    * worker processes, which get a copy of the source, read the same
    * it does not keep what it has read

    A source that is a context manager is entered and left, as by a pipeline, unless it can be read as it is.

    Args:
        source: what ``Pipeline(source=...)`` takes.
        num_workers: how many worker processes read it; 0 leaves that check out.
        records: how many records are read, spread over the source.

    Raises:
        AssertionError: it does not keep one of these; the message says which, and of what record.
        TypeError, ValueError: it is no source, as a pipeline would say.

    >>> class Squares:
    ...     def __len__(self): return 10
    ...     def __getitem__(self, number):
    ...         if not 0 <= number < 10: raise IndexError(number)
    ...         return {"x": number**2}
    >>> check_source(Squares())
    """
    source = as_source(source)
    length = len(source)
    numbers, opened = _spread(length, records), Opened(source)
    # Before it is entered here, for what that leaves behind in it (a closed file) may be nothing that can be sent.
    there = _in_workers(source, sorted(numbers), num_workers) if num_workers else {}
    if not _is_entered(source, numbers[0]):
        opened.enter()
    try:
        _check_memory(source, records)  # first, while there are records that it has not read
        _check_repeated(source, numbers)
        _check_length(source, length)
        _check_writes(source, numbers[0])
        _check_together(source, numbers)
        _check_writing(source, numbers)
        _check_blocks(source)
        _check_alike(source, there)
    finally:
        opened.leave()


def _is_entered(source: Any, number: int) -> bool:
    """Whether a source need not be entered: whoever has done that wants it neither entered twice nor left."""
    if not any(True for _ in managers(source)):
        return True
    try:
        source[number]
    except Exception:
        return False
    return True


def _spread(length: int, count: int) -> list[int]:
    """Some of the numbers, the first and the last among them, in no order."""
    chosen = np.unique(np.linspace(0, length - 1, min(length, count)).astype(np.int64))
    return [int(number) for number in np.random.default_rng(0).permutation(chosen)]


def _check_length(source: Any, length: int) -> None:
    if len(source) != length:
        raise AssertionError(f"len(source) was {length} and is {len(source)} after records were read")
    try:
        last = source[-1]
    except Exception:
        last = None  # negative numbers are not supported, and nobody is told otherwise
    if last is not None:
        told = difference(of_record(source[length - 1]), of_record(last), f"source[{length - 1}]", "source[-1]")
        if told is not None:
            raise AssertionError(
                f"source[-1] is another record than source[{length - 1}], the last of {length}: {told}. Raise "
                "IndexError for numbers that are no record's, or count from the end"
            )


def _check_repeated(source: Any, numbers: Sequence[int]) -> None:
    first = {number: of_record(source[number]) for number in numbers}
    for number in sorted(numbers):
        told = difference(first[number], of_record(source[number]), "the first reading", "the second")
        if told is not None:
            raise AssertionError(
                f"record {number} is another one when it is read again: {told}. A record must depend on its number "
                "alone; draw random numbers in a RandomMapElement, and take the epoch from set_epoch(epoch)"
            )


def _check_writes(source: Any, number: int) -> None:
    before = {name: np.array(value) for name, value in of_record(source[number]).items() if _is_array(value)}
    given = of_record(source[number])
    kept = {name: value for name, value in given.items() if _is_array(value) and value.flags.writeable and value.size}
    written: list[str] = []
    for name, value in kept.items():
        value[...] = 0 if value.astype(bool).any() else 1
        again = of_record(source[number])[name]
        if difference({"": before[name]}, {"": again}, "", "") is not None:
            written.append(name)
        value[...] = before[name]
    if written:
        raise AssertionError(
            f"what is written to field '{written[0]}' of record {number} changes the source: the next epoch would find "
            "it. Give a copy, or an array that is not writeable"
        )


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray) and not value.dtype.hasobject


def _check_together(source: Any, numbers: Sequence[int]) -> None:
    many = quick_way(source, "__getitems__")
    if many is None:
        return
    wanted = [*numbers, numbers[0]]  # one of them twice, as a sampler may ask
    found = many(list(wanted))
    table = columns_of(found)
    records = [_row(table, place) for place in range(len(wanted))] if table is not None else list(found)
    if len(records) != len(wanted):
        raise AssertionError(f"__getitems__ was asked for {len(wanted)} records and returned {len(records)}")
    for number, record in zip(wanted, records, strict=True):
        told = difference(of_record(source[number]), of_record(record), "__getitem__", "__getitems__")
        if told is not None:
            raise AssertionError(f"record {number} is another one among several, read by __getitems__: {told}")


def _check_writing(source: Any, numbers: Sequence[int]) -> None:
    write = quick_way(source, "read_into")
    if write is None or isinstance(source, MemorySource):
        return
    like = {path: np.asarray(as_plain(value)) for path, value in leaves_of(source[numbers[0]]).items()}
    if not all(array.dtype.kind in "biufc" for array in like.values()):
        return
    wanted = np.array([*numbers, numbers[0]])
    for fill in (0, 1):  # what is not written stays as one of the two
        out = {path: np.full((len(wanted), *one.shape), fill, one.dtype) for path, one in like.items()}
        write(wanted, nest(out))
        for place, number in enumerate(wanted.tolist()):
            found = nest({path: array[place] for path, array in out.items()})
            told = difference(of_record(source[number]), of_record(found), "__getitem__", "read_into")
            if told is not None:
                raise AssertionError(f"record {number} is another one, or not whole, when read_into writes it: {told}")


def _check_blocks(source: Any) -> None:
    if not isinstance(source, BlockSource):
        return
    for number in _spread(len(source.blocks), 4):
        block, end = source.block(number), int(source.block_ends[number])  # as many as it says, or that is an error
        if not block.rows or source.decodes:
            continue
        for row in {0, block.rows - 1}:
            record, at = block.records(np.array([row]))[0], end - block.rows + row
            told = difference(of_record(source[at]), of_record(record), f"source[{at}]", f"row {row} of the block")
            if told is not None:
                raise AssertionError(f"block {number} is another one when it is read again: {told}")


def _row(table: Mapping[str, Any], place: int) -> dict[str, Any]:
    return nest({path: as_plain(column)[place] for path, column in leaves_of(table).items()})


def _check_memory(source: Any, count: int) -> None:
    numbers = np.random.default_rng(1).permutation(min(len(source), 4 * count))[: 2 * count].tolist()
    half = len(numbers) // 2
    for number in numbers[:half]:
        source[number]
    ours = not tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        size = sum(_size(source[number]) for number in numbers[half:])
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        if ours:
            tracemalloc.stop()
    if kept > _GROWTH and kept > size / 2:
        raise AssertionError(
            f"reading {len(numbers) - half} records of {size:,} bytes left {kept:,} bytes more in memory: the source "
            "keeps what it reads, and every worker would come to hold it all. Bound what it remembers"
        )


def _size(record: Any) -> int:
    return sum(value.nbytes if _is_array(value) else len(str(value)) for value in of_record(record).values())


def _in_workers(source: Any, numbers: Sequence[int], num_workers: int) -> dict[int, int]:
    """For each of some records a number that stands for its contents, as workers read it."""
    from datarax_mp.pipeline import scan  # delayed: whoever checks without workers starts nothing of them

    return dict(zip(numbers, scan(_Some(source, numbers), number_of, num_workers=num_workers).tolist(), strict=True))


def _check_alike(source: Any, there: Mapping[int, int]) -> None:
    for number, found in there.items():
        if found != number_of(source[number]):
            raise AssertionError(
                f"record {number} is another one when a worker process reads it. A worker has a copy of the source, of "
                "its own: what a record depends on must be in the source, not in this process's modules or handles"
            )


class _Some(SaysFacts):
    """Some of a source's records, whatever it says of itself; workers enter it, where it is a context manager."""

    def __init__(self, source: Any, numbers: Sequence[int]) -> None:
        self._source, self._numbers = source, numbers

    def facts(self) -> SourceFacts:
        """Its name alone."""
        return SourceFacts(type(self._source).__name__)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Any:
        return self._source[self._numbers[number]]
