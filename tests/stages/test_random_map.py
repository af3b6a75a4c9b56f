"""The generators that random stages get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flax import nnx

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline, RandomMapElement
from datarax_mp.stages.random_map import Generators, generator_for

# (seed, epoch, record, stage) and what is drawn: a stream recorded today is the same under every later version.
PINNED = [
    ((0, 0, 0, 0), [0.265747325118747, 0.3306503629572116], 325281614967560257, 45, 0.165283133249848),
    (
        (2**63 + 11, 3, 12345, 2),
        [0.9206678648407157, 0.04565845270635149],
        3138452211660417828,
        58,
        -0.7225257124647396,
    ),
    ((-1, 0, 7, 1), [0.8966148732044151, 0.21980594560703948], 6350740801250033213, 39, 0.1628847113828455),
]


def draws(rng: np.random.Generator) -> tuple[Any, ...]:
    return rng.random(2).tolist(), rng.integers(2**63 - 1), rng.integers(100, dtype=np.int32), rng.standard_normal()


@pytest.mark.parametrize(("key", "expected"), [(key, tuple(values)) for key, *values in PINNED])
def test_what_is_drawn_is_pinned(key: tuple[int, int, int, int], expected: tuple[Any, ...]) -> None:
    seed, epoch, record, stage = key
    assert draws(generator_for(*key)) == expected
    assert draws(Generators(seed, epoch, stage).of(record)) == expected


def test_a_reused_generator_starts_afresh_for_every_record() -> None:
    generators = Generators(3, 1, 2)
    for record in (0, 9, 5, 9, 10**9):
        generators.of(record).integers(100, dtype=np.int32)  # half a word is left in the buffer
        assert draws(generators.of(record)) == draws(generator_for(3, 1, record, 2))


def test_a_generator_that_nobody_keeps_is_used_again() -> None:
    generators = Generators(0, 0, 0)
    assert len({id(generators.of(record)) for record in range(10)}) == 1


@pytest.mark.parametrize("keep", [lambda rng: rng, lambda rng: rng.bit_generator, lambda rng: rng.random])
def test_a_generator_that_a_stage_keeps_goes_on_with_its_own_stream(keep: Any) -> None:
    generators = Generators(0, 0, 0)
    kept = [keep(generators.of(record)) for record in range(3)]
    last = generators.of(3)
    for record, one in enumerate(kept):
        if isinstance(one, np.random.BitGenerator):
            one = np.random.Generator(one)
        drawn = one(4) if callable(one) else one.random(4)
        assert drawn.tolist() == generator_for(0, 0, record, 0).random(4).tolist()
    assert last.random() == generator_for(0, 0, 3, 0).random()


def test_spawning_from_a_generator_is_refused() -> None:
    with pytest.raises(TypeError, match="does not implement spawning"):
        Generators(0, 0, 0).of(0).spawn(1)


def test_seed_epoch_record_and_stage_each_change_the_stream() -> None:
    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    streams = np.concatenate([generator_for(*key).integers(2**63, size=1000) for key in keys])
    assert len(np.unique(streams)) == len(streams)


def test_two_random_stages_of_a_pipeline_never_share_a_stream() -> None:
    def first(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {**record, "first": rng.random(50)}

    def second(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {**record, "second": rng.random(50)}

    source = MemorySource(MemorySourceConfig(), {"x": np.arange(20)})
    stages = [RandomMapElement(first), RandomMapElement(second)]
    [batch] = Pipeline(source=source, batch_size=20, stages=stages, output="numpy", rngs=nnx.Rngs(0))
    drawn = np.concatenate([batch["first"].ravel(), batch["second"].ravel()])
    assert len(np.unique(drawn)) == 2 * 20 * 50
