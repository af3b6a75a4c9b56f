"""What a step holds, as a few words: every byte counts, and one record that differs can be named.

    word    0 the sequence of record numbers, hashed        1 their sum
            2 the first of them                             3 the hash of its row, over all fields
            then for each field, those that are no arrays last: the sum of h(r), and the sum of n(r) * h(r)

``h(r)`` is the 64-bit hash of row r with its dtype and shape, ``n(r)`` its record's number; sums are modulo 2^64. Rows
are hashed with XXH3 (https://github.com/Cyan4973/xxHash), those of at most 8 bytes, as labels are, all together with a
bijection. NumPy only: workers import this module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

try:
    from xxhash import xxh3_64_intdigest
except ImportError as error:
    raise ImportError('a ledger needs xxhash: pip install "datarax-mp[ledger]"', name=error.name) from error

from datarax_mp.core.record import Infos
from datarax_mp.core.spec import Layout
from datarax_mp.ledger.objects import as_bytes
from datarax_mp.order.hashing import Words, mix64_each

SEQUENCE, SUM, FIRST, FIRST_ROW, FIELDS = range(5)


class Digester:
    """Makes the digests of steps.

    Args:
        layout: what a batch holds, as it is delivered.

    >>> layout = Layout.of({"x": np.float32(0)}, number=0, batch_size=2, x64=None)
    >>> digest = Digester(layout)([np.ones(2, np.float32)], None, np.array([3, 5]))
    >>> [int(word) for word in np.frombuffer(digest, np.uint64)[[SUM, FIRST]]]
    [8, 3]
    """

    def __init__(self, layout: Layout) -> None:
        self._info = layout.info
        self._words = FIELDS + 2 * (len(layout.fields) + len(layout.info))

    def __call__(self, arrays: list[np.ndarray], infos: Infos | None, numbers: NDArray[np.int64]) -> bytes:
        """The digest of a step.

        Args:
            arrays: one ``(rows, ...)`` for each field of the layout, contiguous, in its order.
            infos: the fields that are no arrays.
            numbers: int64 ``(rows,)``, the rows' records.
        """
        digest = np.zeros(self._words, np.uint64)
        if len(numbers):
            weights = np.ascontiguousarray(numbers, np.int64).view(np.uint64)
            hashed = [row_hashes(array) for array in arrays]
            hashed += [_hashes_of_objects((infos or {})[path]) for path in self._info]
            digest[SEQUENCE] = xxh3_64_intdigest(weights.data)
            digest[SUM], digest[FIRST] = weights.sum(dtype=np.uint64), weights[0]
            digest[FIRST_ROW] = xxh3_64_intdigest(np.array([rows[0] for rows in hashed], np.uint64).data)
            digest[FIELDS::2] = [rows.sum(dtype=np.uint64) for rows in hashed]
            digest[FIELDS + 1 :: 2] = [rows @ weights for rows in hashed]
        return digest.tobytes()


def row_hashes(array: np.ndarray) -> Words:
    """A hash of every row of an array, uint64 ``(rows,)``: of its bytes, its dtype and its shape."""
    rows, seed = len(array), _seed(array.dtype, array.shape[1:])
    if array.size == 0:
        return np.full(rows, seed, np.uint64)
    matrix = array.reshape(rows, -1).view(np.uint8)
    width = matrix.shape[1]
    if width > 8:
        hashed: Callable[..., int] = xxh3_64_intdigest
        return np.array([hashed(row, seed) for row in matrix], np.uint64)
    words = np.zeros((rows, 8), np.uint8)
    words[:, :width] = matrix
    return mix64_each(words.view(np.uint64)[:, 0] ^ np.uint64(seed))


def _hashes_of_objects(values: list[Any]) -> Words:
    return np.array([xxh3_64_intdigest(as_bytes(value)) for value in values], np.uint64)


@lru_cache(maxsize=256)
def _seed(dtype: np.dtype, shape: tuple[int, ...]) -> int:
    return int(xxh3_64_intdigest(f"{dtype.name}{shape}".encode()))
