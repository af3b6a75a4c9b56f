"""The different values in an array, for worker processes.

``np.unique`` imports ``numpy.ma`` when it is first called, which takes every worker 20 ms and 1.5 MB.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

Scalar = TypeVar("Scalar", bound=np.generic)


def distinct(values: np.ndarray[tuple[int, ...], np.dtype[Scalar]]) -> np.ndarray[tuple[int, ...], np.dtype[Scalar]]:
    """The different values of a vector, ascending.

    >>> distinct(np.array([3, 1, 3])).tolist(), distinct(np.zeros(0)).tolist()
    ([1, 3], [])
    """
    ascends = bool(
        np.greater_equal(values[1:], values[:-1]).all()
    )  # as they often do, and then there is no need to sort them
    ordered = values if ascends else np.sort(values)
    new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    return ordered[new]
