"""Padding: how records of unequal length become rows of one array.

``Pad`` says what is wanted; ``recipe/padding.py`` does it, where records become a batch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from datarax_mp.core.integers import integer
from datarax_mp.core.record import Path, clash
from datarax_mp.stages.base import Rank, Stage

To: TypeAlias = Literal["fixed", "longest"] | Sequence[int]


@dataclass(frozen=True, slots=True)
class Pad(Stage):
    """Make records of unequal length rows of one batch, by padding their arrays at the end of the first axis.

    It stands after all stages for single records, which see the records as they are, and before those for batches,
    which see the padded arrays ``(rows, L, ...)``. Several may follow each other, each for fields of its own. ``L``
    depends on the batch's records alone, so the stream is the same for every worker count and after a resume.

    Attributes:
        field: the field to pad, of any dtype and at least one axis; only the first axis may vary from record to record.
            A list that is empty does not say of what dtype it is, so where the first record has one, the first of the
            next 63 that has another value does; an empty array says it itself. Nor does it say of what shape its items
            are, as where an image has no boxes ``(n, 4)``: it is a record of length 0.
            Nested names are joined by a slash, ``"text/tokens"``, which may as well be one name that has a slash in it.
            Several names in a tuple are padded together: in each record they must be equally long.
        length: the most that a record may have. A batch has this much room in shared memory, whatever ``to`` says.
        to: ``"fixed"`` pads every batch to ``length``. ``"longest"`` pads to the longest record of the batch (0 if all
            are empty): least to compute, but a jitted step compiles anew for each length. A sequence of rising lengths,
            buckets, pads to the smallest of them that holds the longest record, so that a jitted step compiles once for
            each; ``length`` is the last and need not be listed. With ``enforce_batch=False`` a record is a batch of its
            own.
        value: what the padding is filled with; it must be a value of the field's dtype.
        mask: the name of a field to add, bool ``(rows, L)``: True where there is data.
        lengths: the name of a field to add, int32 ``(rows,)``: how much data a record has, after ``truncate``.
        truncate: whether a record that is too long is cut at the end; otherwise it is an error.

    Rows that ``pad_last`` adds are zeros, with a mask of False and a length of 0. A batch of such rows alone, all of
    whose records were skipped, is padded to ``length``. A ``MapBatch`` after a Pad that is not ``"fixed"`` may return
    arrays of any shape up to the one that it returns for a batch padded to ``length``.

    Raises:
        TypeError: names that are no strings, lengths that are no integers, a value that is no single number.
        ValueError: no field, a name that is used twice, a length below 1, buckets that do not rise or end above
            ``length``.
        RecordError: (from ``iter`` and ``next``) a record that is too long; the field is missing, is no array or has no
            axis; fields padded together differ in length; a field to be added is there already; ``value`` does not
            fit the dtype; ``on_error="skip"`` leaves such a record out. A field is an empty list in all of the first 64
            records.

    >>> import numpy as np
    >>> from datarax_mp import Pipeline
    >>> source = [{"tokens": np.arange(length)} for length in (2, 3, 1, 5)]
    >>> pad = Pad("tokens", 8, to=(4, 8), value=-1, lengths="length")
    >>> for batch in Pipeline(source=source, batch_size=2, stages=[pad]):
    ...     print(batch["tokens"].tolist(), batch["length"].tolist())
    [[0, 1, -1, -1], [0, 1, 2, -1]] [2, 3]
    [[0, -1, -1, -1, -1, -1, -1, -1], [0, 1, 2, 3, 4, -1, -1, -1]] [1, 5]
    """

    rank = Rank.PAD

    field: str | Sequence[str]
    length: int
    _: KW_ONLY
    to: To = "fixed"
    value: Any = 0
    mask: str | None = None
    lengths: str | None = None
    truncate: bool = False

    def __post_init__(self) -> None:
        fields = tuple(self.field) if isinstance(self.field, (tuple, list)) else (self.field,)
        if not fields:
            raise ValueError("Pad: field names no field")
        object.__setattr__(self, "field", fields[0] if len(fields) == 1 else fields)  # the class is frozen
        for name in (*fields, *(added for added in (self.mask, self.lengths) if added is not None)):
            if not isinstance(name, str) or not all(_parts(name)):
                raise TypeError(f"Pad: expected field names such as 'tokens' or 'text/tokens', got {name!r}")
        object.__setattr__(self, "length", self._length("length", self.length))
        object.__setattr__(self, "to", self._checked_to())
        if not isinstance(self.truncate, bool):
            raise TypeError(f"{self}: truncate must be a bool, got {self.truncate!r}")
        number = np.asarray(self.value)
        if number.ndim or number.dtype.hasobject or number.dtype.kind in "US":
            raise TypeError(f"{self}: value must be a single number, got {self.value!r}")
        check_pads([self])

    def _checked_to(self) -> str | tuple[int, ...]:
        if isinstance(self.to, str):
            if self.to not in ("fixed", "longest"):
                raise ValueError(f"{self}: to must be 'fixed', 'longest' or a sequence of lengths, got {self.to!r}")
            return self.to
        if not hasattr(self.to, "__iter__"):
            raise TypeError(f"{self}: to must be 'fixed', 'longest' or a sequence of lengths, got {self.to!r}")
        buckets = tuple(self._length("each length in to", bucket) for bucket in self.to)
        if list(buckets) != sorted(set(buckets)) or (buckets and buckets[-1] > self.length):
            raise ValueError(f"{self}: the lengths in to must rise and end at length={self.length}, got {buckets}")
        return buckets if buckets and buckets[-1] == self.length else (*buckets, self.length)

    def _length(self, name: str, value: Any) -> int:
        return integer(f"{self}: {name}", value, least=1)

    def __str__(self) -> str:
        return f"Pad({', '.join(map(repr, self.names))})"

    @property
    def name(self) -> str:
        """How messages and states call it: by what it pads."""
        return str(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The fields to pad."""
        return (self.field,) if isinstance(self.field, str) else tuple(self.field)

    @property
    def added(self) -> tuple[str, ...]:
        """The fields to add."""
        return tuple(name for name in (self.mask, self.lengths) if name is not None)

    def width(self, longest: int) -> int:
        """The length that a batch is padded to, given its longest record.

        >>> [Pad("x", 512, to=(64, 128)).width(longest) for longest in (0, 64, 65, 300)]
        [64, 64, 128, 512]
        """
        if self.to == "fixed":
            return self.length
        return longest if isinstance(self.to, str) else self.to[bisect_left(self.to, longest)]


def _parts(name: str) -> Path:
    return tuple(name.split("/"))


def check_pads(pads: Sequence[Pad]) -> None:
    """Make sure that stages that pad agree about their fields.

    Raises:
        ValueError: a name is used twice, or one is a part of another, as ``a`` is of ``a/b``.
    """
    seen: list[Path] = []
    for pad in pads:
        for name in (*pad.names, *pad.added):
            if any(clash(_parts(name), other) for other in seen):
                raise ValueError(
                    f"{pad}: the field '{name}' would be padded or added twice, or lie within another that is. "
                    "Pad each field once, and choose other names for mask and lengths"
                )
            seen.append(_parts(name))
