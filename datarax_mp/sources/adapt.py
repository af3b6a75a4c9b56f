"""Taking whatever the user calls a source."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from datarax_mp.sources.config import MemorySourceConfig
from datarax_mp.sources.memory import MemorySource


@runtime_checkable
class Source(Protocol):
    """What a pipeline reads from.

    An optional method makes it faster: ``__getitems__(list[int])`` reads the records of a batch in one call. It returns
    a list of them, or, which is quickest, one dict of columns: an array ``(records, ...)`` for each field, nested as
    the records are.
    """

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def __getitem__(self, number: int, /) -> Any:
        """Record ``number``: a mapping of field names to values, an array or a scalar."""
        ...


def as_source(source: Any) -> Source:
    """Accept a source as it is, and wrap plain data in a MemorySource.

    Args:
        source: a list of records, a dict of columns or an array, or any object with ``__len__`` and ``__getitem__``: a
            ``torch.utils.data.Dataset``, a Hugging Face dataset, a Grain data source.

    Raises:
        TypeError: it has no length, or records cannot be asked for by number.
        ValueError: it is empty.
    """
    if isinstance(source, (str, bytes)):
        raise TypeError(f"source must hold records, not {type(source).__name__}")
    if type(source) in (list, tuple, dict) or isinstance(source, np.ndarray):
        source = MemorySource(MemorySourceConfig(), source)
    missing = [name for name in ("__len__", "__getitem__") if not hasattr(source, name)]
    if missing or isinstance(source, (set, frozenset)):
        raise TypeError(
            f"source of type {type(source).__name__} lacks {' and '.join(missing)}: a pipeline asks for records by "
            "number. Read a stream into a list first, or give it these methods"
        )
    if len(source) == 0:
        raise ValueError(f"source of type {type(source).__name__} is empty: expected at least one record")
    return source
