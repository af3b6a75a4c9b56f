"""Ways to put documents into rows of fixed length; all of them are a table of pieces, ordered by row.

    best-fit     longest first, each into the fullest row that has room       rows fullest, whole documents
    first-fit    in their order, each into the first row that has room        neighbours stay near each other
    concat       one behind the other, cut where a row ends                   no padding, documents cut anywhere

A document longer than a row is cut by the first two as well, and only there.

Best-fit decreasing (Johnson, "Near-optimal bin packing algorithms", 1973): lengths are integers up to the row's, so
that the rows with so much room are a list per amount, and the fitting amount is found with one bit operation; Krell et
al., "Efficient Sequence Packing without Cross-contamination" (2021), group lengths in the same way. First-fit finds its
row in a tree whose nodes know the most room below them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Method: TypeAlias = Literal["best-fit", "first-fit", "concat"]

PIECE = np.dtype([("document", np.int64), ("start", np.int32), ("length", np.int32)])


def plan(lengths: NDArray[np.int64], seq_len: int, method: Method) -> tuple[np.ndarray, NDArray[np.int64]]:
    """Divide documents into pieces, and pieces into rows.

    Returns:
        The pieces, ordered by row and within a row by document; and int64 ``(rows + 1,)``, where each row's begin.
    """
    if method == "concat":
        pieces, row_of = _concatenated(lengths, seq_len)
    else:
        pieces = _cut(lengths, seq_len)
        if method == "best-fit":
            pieces = pieces[np.argsort(-pieces["length"], kind="stable")]
        row_of = _FITTING[method](pieces["length"].tolist(), seq_len)
    order = np.lexsort((pieces["start"], pieces["document"], row_of))
    rows = int(row_of.max()) + 1 if len(row_of) else 0
    return pieces[order], np.searchsorted(row_of[order], np.arange(rows + 1))


def _cut(lengths: NDArray[np.int64], seq_len: int) -> np.ndarray:
    counts = -(-lengths // seq_len)
    pieces = np.empty(counts.sum(), PIECE)
    pieces["document"] = np.repeat(np.arange(len(lengths)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)  # of each piece's document
    pieces["start"] = (np.arange(len(pieces)) - first) * seq_len
    pieces["length"] = np.minimum(seq_len, np.repeat(lengths, counts) - pieces["start"])
    return pieces


def _concatenated(lengths: NDArray[np.int64], seq_len: int) -> tuple[np.ndarray, NDArray[np.int64]]:
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.unique(np.concatenate([ends - lengths, np.arange(0, total, seq_len), [total]]))
    begins = cuts[:-1]
    pieces = np.empty(len(begins), PIECE)
    pieces["document"] = documents = np.searchsorted(ends, begins, "right")
    pieces["start"] = begins - (ends - lengths)[documents]
    pieces["length"] = np.diff(cuts)
    return pieces, begins // seq_len


def _best_fit(lengths: list[int], seq_len: int) -> NDArray[np.int64]:
    row_of = np.empty(len(lengths), np.int64)
    with_room: list[list[int]] = [[] for _ in range(seq_len + 1)]  # rows by the room they have
    rooms = 0  # a bit for every amount of room that some row has
    rows = 0
    for number, length in enumerate(lengths):
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1  # the lowest bit: the fullest row
            row = with_room[room].pop()
            if not with_room[room]:
                rooms &= ~(1 << room)
        else:
            room, row, rows = seq_len, rows, rows + 1
        row_of[number] = row
        if room > length:
            with_room[room - length].append(row)
            rooms |= 1 << (room - length)
    return row_of


def _first_fit(lengths: list[int], seq_len: int) -> NDArray[np.int64]:
    row_of = np.empty(len(lengths), np.int64)
    leaves = 1
    while leaves < len(lengths):  # as many rows as documents suffice
        leaves *= 2
    most = [seq_len] * (2 * leaves)  # room: of a row in the second half, of the better of two nodes in the first
    for number, length in enumerate(lengths):
        node = 1
        while node < leaves:
            node *= 2
            if most[node] < length:
                node += 1
        row_of[number] = node - leaves
        most[node] -= length
        while node > 1:
            node //= 2
            best = max(most[2 * node], most[2 * node + 1])
            if most[node] == best:
                break
            most[node] = best
    return row_of


_FITTING: dict[str, Callable[[list[int], int], NDArray[np.int64]]] = {"best-fit": _best_fit, "first-fit": _first_fit}
