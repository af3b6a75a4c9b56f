"""Hugging Face data sets that give Arrow tables, of which one of one row is a record and one of several is columns.

And streaming ones with a shuffle buffer, which are told from others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datarax_mp.core.foreign import as_plain, is_of
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.tables import columns_of


class ArrowDataset(SaysFacts):
    """A ``datasets.Dataset`` with ``with_format("arrow")``.

    Its own ``__getitems__`` takes what it gets for dicts, and fails.

    Args:
        dataset: the data set.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        return SourceFacts(type(self._dataset).__name__)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {name: as_plain(column)[0] for name, column in self.__getitems__([number]).items()}

    def __getitems__(self, numbers: list[int]) -> Mapping[str, Any]:
        columns = columns_of(self._dataset[numbers])
        assert columns is not None  # it is a table
        return columns


def gives_tables(source: Any) -> bool:
    """Whether a source is such a data set."""
    return is_of(source, "datasets", "Dataset") and source.format["type"] == "arrow"


def has_shuffle_buffer(stream: Any) -> bool:
    """Whether it is a streaming data set with ``.shuffle(buffer_size=)``, whose state lacks the records in the buffer.

    No public name says so; where its parts are called otherwise, it is taken for one without.
    """
    left = [getattr(stream, "_ex_iterable", None)] if is_of(stream, "datasets", "IterableDataset") else []
    while left:
        part = left.pop()
        if type(part).__name__ == "BufferShuffledExamplesIterable":
            return True
        left += [inner for name in ("ex_iterable", "ex_iterables") for inner in _listed(getattr(part, name, ()))]
    return False


def _listed(parts: Any) -> list[Any]:
    return list(parts) if isinstance(parts, (list, tuple)) else [parts]
