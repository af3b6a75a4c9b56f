from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from datarax_mp import ShardOptions


@pytest.mark.parametrize(("index", "count"), [(2, 2), (-1, 2), (0, 0)])
def test_an_index_outside_of_the_count_is_an_error(index: int, count: int) -> None:
    with pytest.raises(ValueError, match=f"index={index} and count={count}"):
        ShardOptions(index, count)


@pytest.mark.parametrize("wrong", ["0", None, 0.0, True])
def test_what_is_no_int_is_an_error(wrong: Any) -> None:
    with pytest.raises(TypeError, match="index must be an int"):
        ShardOptions(wrong, 2)


def test_numpy_integers_become_plain_ones() -> None:
    assert type(ShardOptions(np.int64(1), 2).index) is int
