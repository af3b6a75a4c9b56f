"""Arguments that are of a kind, or mean something only together with others: flags and seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline, RandomMapElement
from tests.shown import shown


def make(**more: Any) -> Pipeline:
    return Pipeline(**{"source": {"x": np.arange(50)}, "batch_size": 8, "shuffle": True, **more})


def stream(pipeline: Pipeline) -> list[int]:
    with pipeline:
        return [n for batch in pipeline for n in batch["x"].tolist()]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_seed_is_the_plain_name_of_an_int_for_rngs(workers: int) -> None:
    first = stream(make(seed=3, num_workers=workers))
    assert first == stream(make(rngs=3)) == stream(make(seed=np.uint8(3))) != list(range(50))
    assert sorted(first) == list(range(50))
    assert first != stream(make(seed=4)) != stream(make(seed=0))
    assert make(seed=3).get_state()["seed"] == 3


def test_a_key_seeds_a_pipeline_and_is_not_used_up() -> None:
    key = jax.random.key(7)
    assert stream(make(rngs=key)) == stream(make(rngs=key)) != stream(make(rngs=jax.random.key(8)))


def test_a_seed_is_in_the_state_whether_or_not_something_is_random() -> None:
    assert make(shuffle=False, seed=5).get_state()["seed"] == make(shuffle=False, rngs=5).get_state()["seed"] == 5
    stream_of = np.random.default_rng(0)
    make(shuffle=False, rngs=stream_of)
    assert stream_of.random() == np.random.default_rng(0).random()  # nothing was drawn


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"seed": -1}, ValueError, r"seed must be at least 0 and below 2\*\*64, got -1"),
        ({"seed": 2**64}, ValueError, "seed must be at least 0"),
        ({"seed": 1.0}, TypeError, "seed must be an int, got 1.0 of type float"),
        ({"seed": True}, TypeError, "seed must be an int, got True"),
        ({"seed": "0"}, TypeError, "seed must be an int"),
        ({"seed": nnx.Rngs(0)}, TypeError, "seed must be an int"),
        ({"seed": 0, "rngs": 0}, ValueError, "seed and rngs both say"),
        ({}, ValueError, r"shuffle=True needs rngs, .*or a seed: .*Pipeline\(\.\.\., seed=0\)"),
        ({"shuffle": False, "stages": [RandomMapElement(lambda r, g: r)]}, ValueError, "a random stage needs rngs"),
    ],
    ids=shown,
)
def test_what_is_no_seed_is_an_error_at_once(wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make(**wrong)


@pytest.mark.parametrize("name", ["shuffle", "drop_last", "pad_last", "enforce_batch"])
@pytest.mark.parametrize("value", ["False", 1000, 0, 1.0, []])
def test_what_is_on_or_off_is_a_bool(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=rf"{name} must be True or False.*; got .* of type {type(value).__name__}"):
        make(**{"seed": 0, name: value})
    for value in (True, np.True_, False, np.False_):
        state = make(**{"seed": 0, name: value}).get_state()
        assert json.loads(json.dumps(state)) == state


def test_a_source_with_rngs_of_its_own_leaves_no_room_for_a_seed() -> None:
    source = MemorySource(MemorySourceConfig(shuffle=True), {"x": np.arange(50)}, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="seed and the source's rngs both say"):
        make(source=source, seed=1)
    numbered = MemorySource(MemorySourceConfig(shuffle=True), {"x": np.arange(50)}, rngs=3)
    assert stream(make(source=numbered)) == stream(make(seed=3))


def test_a_seed_imports_no_jax_for_numpy_output(run_script: Callable[..., Any]) -> None:
    run_script(
        """
        import sys
        import numpy as np
        from datarax_mp import Pipeline, RandomMapElement
        assert "jax" not in sys.modules
        from datarax_mp.pipeline.arguments import resolve_seed
        assert resolve_seed(3, None, None, None) == resolve_seed(None, 3, None, "shuffle") == 3
        noise = RandomMapElement(lambda record, rng: {"x": rng.random()})
        for seed in ({"seed": 1}, {"rngs": 1}):  # elements: a Batch is an nnx.Module, and so imports JAX in any case
            options = {"stages": [noise], "output": "numpy", "enforce_batch": False, **seed}
            pipeline = Pipeline(source={"x": np.arange(9)}, batch_size=3, shuffle=True, **options)
            assert len(list(pipeline)) == 9
        assert "jax" not in sys.modules
        """.replace("\n        ", "\n")
    )
