"""Taking whatever the user calls a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from datarax_mp.sources.config import MemorySourceConfig
from datarax_mp.sources.hugging_face import ArrowDataset, gives_tables
from datarax_mp.sources.memory_source import MemorySource
from datarax_mp.sources.tables import columns_of, is_array


@runtime_checkable
class Source(Protocol):
    """What a pipeline reads from.

    An optional method makes it faster: ``__getitems__(list[int])`` reads the records of a batch in one call. It returns
    a list of them, or, which is quicker, one dict of columns: an array ``(records, ...)`` for each field, nested as
    the records are. Quickest is ``read_into(numbers, out)``, see ``WritingSource``.

    A source that is a context manager, too, is entered in every process that reads its records, before the first one,
    and left when that process is through with it, or the pipeline is closed: the place to open files and connections.
    ``__enter__`` returns the source itself. ``len(source)`` is asked before. A process that is killed leaves nothing,
    and workers are ended at the program's end: what must not be lost there, a ``with pipeline:`` leaves in time.
    """

    def __len__(self) -> int:
        """How many records there are."""
        ...

    def __getitem__(self, number: int, /) -> Any:
        """Record ``number``: a mapping of field names to values, an array or a scalar."""
        ...


class BatchedSource(Source, Protocol):
    """A source that reads several records in one call."""

    def __getitems__(self, numbers: list[int], /) -> Any:
        """A list of these records, or one dict of columns, an array ``(records, ...)`` for each field."""
        ...


class WritingSource(Source, Protocol):
    """A source that writes records where they are wanted: into a batch's memory, which all processes share.

    >>> import numpy as np
    >>> from datarax_mp import Pipeline
    >>> class Squares:
    ...     def __len__(self): return 10
    ...     def __getitem__(self, number): return {"n": number, "square": np.float32(number**2)}
    ...     def read_into(self, numbers, out):
    ...         out["n"][...] = numbers
    ...         np.square(numbers, out=out["square"], casting="same_kind")
    >>> [batch["square"].tolist() for batch in Pipeline(source=Squares(), batch_size=6)]
    [[0.0, 1.0, 4.0, 9.0, 16.0, 25.0], [36.0, 49.0, 64.0, 81.0]]
    """

    def read_into(self, numbers: NDArray[np.int64], out: Mapping[str, Any], /) -> None:
        """Write records.

        It is used where records are just as the first one, which is read by ``__getitem__``: arrays of one shape and
        dtype for each field, and no stage for records. Otherwise, and to find out which record is to be skipped, the
        other ways are.

        Args:
            numbers: int64 ``(rows,)``, the records' numbers, some of them maybe several times.
            out: for each field an array ``(rows, ...)``, nested as records are, to be filled whole: what it holds
                before has no meaning. Another array in its place is an error. It is not to be kept, since it is other
                batches' later.
        """
        ...


def quick_way(source: Any, name: str) -> Callable[..., Any] | None:
    """A source's method that reads several records at once, if it is known to give what ``source[number]`` does.

    That is where the class that defines it is the one that defines ``__getitem__``, or is derived from that: a class
    further down which changes ``__getitem__`` alone means its own records. So does a wrapper that hands on every
    attribute that it lacks, which is why the type is asked and not the object.

    >>> class Both:
    ...     def __getitem__(self, number): return number
    ...     def __getitems__(self, numbers): return numbers
    >>> class Doubled(Both):
    ...     def __getitem__(self, number): return 2 * number
    >>> quick_way(Both(), "__getitems__") is None, quick_way(Doubled(), "__getitems__") is None
    (False, True)
    """
    for kind in type(source).__mro__:
        if name in vars(kind):
            return getattr(source, name)  # type: ignore[no-any-return]
        if "__getitem__" in vars(kind):
            return None
    return None


def as_source(source: Any) -> Source:
    """Accept a source as it is, and wrap plain data in a MemorySource.

    Args:
        source: data in memory (a list of records; a dict of columns, a DataFrame, an Arrow table; an array or tensor
            whose rows are the records), or any object with ``__len__`` and ``__getitem__``: a
            ``torch.utils.data.Dataset``, a Hugging Face dataset, a Grain data source.

    Raises:
        TypeError: it has no length, or records cannot be asked for by number.
        ValueError: it is empty.
    """
    if isinstance(source, (str, bytes, bytearray, memoryview)):
        raise TypeError(f"source must hold records, not {type(source).__name__}")
    if type(source) in (list, tuple) or is_array(source) or _holds_columns(source):
        source = MemorySource(MemorySourceConfig(), source)
    elif gives_tables(source):
        source = ArrowDataset(source)
    missing = [name for name in ("__len__", "__getitem__") if not hasattr(source, name)]
    if missing or isinstance(source, (set, frozenset)):
        raise TypeError(
            f"source of type {type(source).__name__} lacks {' and '.join(missing)}: a pipeline asks for records by "
            "number. Read a stream into a list first, give it these methods, or hand the pipeline what makes its "
            "iterators: IterableSource(make)"
        )
    if _length(source) == 0:
        raise ValueError(f"source of type {type(source).__name__} is empty: expected at least one record")
    return source  # type: ignore[no-any-return]


def _holds_columns(source: Any) -> bool:
    if type(source) is dict:
        return True
    columns = columns_of(source)
    # A mapping of the user's own whose keys are numbers is a source: its records are asked for by number.
    return columns is not None and not (isinstance(source, Mapping) and not all(isinstance(key, str) for key in source))


def _length(source: Any) -> int:
    try:
        return len(source)
    except TypeError as error:
        raise TypeError(
            f"source of type {type(source).__name__} has no length ({error}): a pipeline asks for records by number. "
            "Make a sparse matrix dense, read a stream into a list"
        ) from error
