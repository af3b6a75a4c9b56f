"""PackedSource: documents packed into rows of fixed length, for language models.

    documents    aaaaaaaa  bbb  ccccc  dd  ...        lengths are known, so the plan is made once
    pieces       aaaa aaaa bbb  ccccc  dd             documents longer than a row are cut into several
    rows         | aaaa dd |  | ccccc b.. |           best-fit, or another way; what is left over is padding

The plan is a table of pieces, ordered by row: NumPy arrays of 16 bytes a piece, which all workers share. A row is then
a record like any other, so that order, shards, resuming and the number of workers are the pipeline's ordinary affair.
A million documents are planned in some 2 s; at a log-normal spread of lengths the rows are 99.9 % full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from datarax_mp.core.record import RecordError, as_array
from datarax_mp.sources.bins import Method, plan
from datarax_mp.sources.concat import plain_sources
from datarax_mp.sources.facts import SaysFacts, SourceFacts


class PackedSource(SaysFacts):
    """Rows of ``seq_len`` tokens packed from the documents of another source.

    A record is a dict of three int32 arrays ``(seq_len,)``: ``tokens``; ``segment_ids``, which count the documents of
    the row from 1 and are 0 at padding; and ``positions``, which count a document's tokens from 0 (also where a long
    document goes on in another row) and are 0 at padding. Attention that is allowed only between equal segments keeps
    the documents apart.

    Which documents share a row is fixed by their lengths alone; a pipeline that shuffles, shuffles rows, and so it does
    where the documents' source says so. A document longer than a row is cut into several pieces, and tokenised once for
    each of them.

    Args:
        documents: a source whose records are documents.
        seq_len: tokens in a row.
        lengths: int ``(len(documents),)``, the documents' tokens; ``datarax_mp.scan(documents, fn, num_workers=...)``
            finds them out in worker processes. A document without tokens comes into no row.
        tokenize: ``document -> ints``, run in the workers; None where records are arrays of tokens already.
        pad_value: the token at padding.
        method: ``"best-fit"`` has the fewest rows, and a row's documents come from anywhere in the source;
            ``"first-fit"`` goes through the documents in their order, so that a row's are near each other; ``"concat"``
            puts one behind the other and cuts them wherever a row ends, so that no row but the last has padding. How
            full the rows are is ``fill``.

    Raises:
        TypeError: ``lengths`` are no integers.
        ValueError: ``lengths`` are negative, or not as many as documents; ``method`` is none of these; the source of
            documents serves only a part of its records or chooses them itself.

    >>> documents = [[1, 2, 3, 4, 5], [6, 7], [8, 9, 10]]
    >>> packed = PackedSource(documents, 5, lengths=[5, 2, 3])
    >>> len(packed), packed[1]["tokens"].tolist(), packed[1]["segment_ids"].tolist(), packed[1]["positions"].tolist()
    (2, [6, 7, 8, 9, 10], [1, 1, 2, 2, 2], [0, 1, 0, 1, 2])
    """

    def __init__(
        self,
        documents: Any,
        seq_len: int,
        *,
        lengths: ArrayLike,
        tokenize: Callable[[Any], Sequence[int] | np.ndarray] | None = None,
        pad_value: int = 0,
        method: Method = "best-fit",
    ) -> None:
        if seq_len < 1:
            raise ValueError(f"seq_len must be at least 1, got {seq_len}")
        if method not in get_args(Method):
            raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
        [self.documents] = plain_sources([documents], "PackedSource")
        self.seq_len = seq_len
        self.tokenize = tokenize
        self.pad_value = pad_value
        self._lengths = _checked(lengths, len(self.documents))
        self._pieces, self._rows = plan(self._lengths, seq_len, method)

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        facts = SourceFacts.of_several(type(self).__name__, [self.documents])
        return facts if self.tokenize is None else replace(facts, user_code=True)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._rows) - 1

    @property
    def fill(self) -> float:
        """The share of all rows that is tokens, the rest being padding."""
        return float(self._lengths.sum() / max(1, len(self) * self.seq_len))

    def __getitem__(self, row: int) -> dict[str, NDArray[np.int32]]:
        """One row.

        Raises:
            IndexError: there is no such row.
            RecordError: a document does not have the length that was given for it, no integers as tokens, or one that
                is no int32.
        """
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} is outside of the {len(self)} rows")
        row %= len(self)
        tokens = np.full(self.seq_len, self.pad_value, np.int32)
        segment_ids, positions = np.zeros(self.seq_len, np.int32), np.zeros(self.seq_len, np.int32)
        at = 0
        for segment, piece in enumerate(self._pieces[self._rows[row] : self._rows[row + 1]], 1):
            start, length = int(piece["start"]), int(piece["length"])
            tokens[at : at + length] = self._tokens(int(piece["document"]))[start : start + length]
            segment_ids[at : at + length] = segment
            positions[at : at + length] = np.arange(start, start + length)
            at += length
        return {"tokens": tokens, "segment_ids": segment_ids, "positions": positions}

    def _tokens(self, document: int) -> np.ndarray:
        record = self.documents[document]
        given = record if self.tokenize is None else self.tokenize(record)
        found = as_array(given, document, ("tokens",))
        tokens = np.asarray(given) if found is None else found
        if tokens.dtype.kind not in "iu" or tokens.shape != (self._lengths[document],):
            raise RecordError(
                f"document {document}: expected {self._lengths[document]} tokens as lengths says, found an array of "
                f"shape {tokens.shape} and dtype {tokens.dtype}. Find the lengths out with the same tokenizer: "
                "scan(documents, lambda document: len(tokenize(document)))"
            )
        if not np.can_cast(tokens.dtype, np.int32):
            _check_range(tokens, document)
        return tokens


def _check_range(tokens: np.ndarray, document: int) -> None:
    most = np.iinfo(np.int32)
    outside = tokens[(tokens < most.min) | (tokens > most.max)]
    if len(outside):
        raise RecordError(
            f"document {document}: expected tokens that are int32, from {most.min} to {most.max}, found {outside[0]} "
            f"({tokens.dtype}). Number the tokens from 0, or map this one to another in tokenize="
        )


def _checked(lengths: ArrayLike, documents: int) -> NDArray[np.int64]:
    array = np.asarray(lengths)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths must be integers, found dtype {array.dtype}")
    if array.shape != (documents,):
        raise ValueError(f"lengths must have shape ({documents},), one for each document; found {array.shape}")
    if (array < 0).any():
        where = int(np.flatnonzero(array < 0)[0])
        raise ValueError(f"lengths must not be negative; that of document {where} is {array[where]}")
    return array.astype(np.int64)
