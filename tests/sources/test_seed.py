from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from datarax_mp.sources.seed import draw_seed


def test_a_stream_moves_on_with_every_draw_and_repeats_from_the_same_start() -> None:
    for make in (lambda: nnx.Rngs(0), lambda: nnx.Rngs(shuffle=0), lambda: np.random.default_rng(0)):
        one, two = make(), make()
        draws = [draw_seed(one) for _ in range(3)]
        assert len(set(draws)) == 3
        assert draws == [draw_seed(two) for _ in range(3)]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_number_or_a_key_gives_the_same_seed_every_time_and_another_one_another(impl: str) -> None:
    for makes in ([0, 1, 2**64 - 1, np.int32(7)], [jax.random.key(n, impl=impl) for n in range(4)]):
        seeds = [draw_seed(one) for one in makes]
        assert seeds == [draw_seed(one) for one in makes]
        assert len(set(seeds)) == 4
        assert all(type(seed) is int and 0 <= seed < 2**64 for seed in seeds)
    assert draw_seed(jax.random.PRNGKey(3)) == draw_seed(jax.random.key(3)) != draw_seed(jax.random.PRNGKey(4))


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (nnx.Rngs(params=0), ValueError, "'shuffle'"),
        ("0", TypeError, "rngs must be an nnx.Rngs .*not str"),
        (True, TypeError, "not bool"),
        (1.5, TypeError, "not float"),
        (-1, ValueError, "rngs must be at least 0 and below 2\\*\\*64, got -1"),
        (2**64, ValueError, "below 2\\*\\*64"),
        (np.random.RandomState(0), TypeError, "not RandomState"),
        (jax.random.split(jax.random.key(0), 3), ValueError, r"must be one key.* of shape \(3,\)"),
        (np.arange(2), ValueError, "must be one key"),
        (jax.numpy.zeros(2), ValueError, r"must be one key.*float32"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_randomness_is_an_error(wrong: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw_seed(wrong)
