"""Device stages: what is donated, how often they are traced, and what random ones draw."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from datarax_mp import DeviceStage, Pipeline, RandomDeviceStage, ShardOptions
from datarax_mp.stages.device import compile_stages


def test_an_array_is_donated_where_one_like_it_comes_out_and_only_there() -> None:
    stage = DeviceStage(lambda batch: {"image": batch["image"] * 2, "mean": batch["label"].mean()})
    apply = compile_stages([stage])
    data = {"image": jax.numpy.ones((4, 5)), "label": jax.numpy.arange(4.0), "more": jax.numpy.ones((4, 5))}
    result = apply(data)
    assert data["image"].is_deleted()
    assert not data["label"].is_deleted()
    assert not data["more"].is_deleted()
    assert result["image"].tolist() == np.full((4, 5), 2).tolist()
    assert result["mean"] == 1.5


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("pad_last", "traces"), [(False, 2), (True, 1)])
def test_a_stage_is_traced_once_and_once_more_for_a_smaller_last_batch(
    workers: int, pad_last: bool, traces: int
) -> None:
    traced: list[Any] = []

    def stage(batch: dict[str, Any]) -> dict[str, Any]:
        traced.append(batch["x"].shape)
        return {"x": batch["x"] + 1, "n": batch["n"]}

    stages = [DeviceStage(stage)]
    data = {"x": np.ones((50, 300, 300), np.float32), "n": np.arange(50)}
    kept = []
    for _ in range(2):  # a new pipeline compiles nothing again
        with Pipeline(source=data, batch_size=8, num_workers=workers, stages=stages, pad_last=pad_last) as pipeline:
            for _ in range(2):
                kept += list(pipeline)
    assert len(traced) == len(set(traced)) == traces
    for batch in kept:
        valid = np.asarray(batch.valid_mask)
        assert (np.asarray(batch["x"])[valid] == 2).all()


def draw(batch: dict[str, Any], key: jax.Array) -> dict[str, Any]:
    return {"n": batch["n"], "noise": jax.random.uniform(key, batch["n"].shape)}


def draw_each(batch: dict[str, Any], keys: jax.Array) -> dict[str, Any]:
    return {"n": batch["n"], "noise": jax.vmap(jax.random.uniform)(keys)}


DRAW, DRAW_EACH = RandomDeviceStage(draw), RandomDeviceStage(draw_each, per_record=True)

kinds = pytest.mark.parametrize("stage", [DRAW, DRAW_EACH], ids=["batch", "record"])


def make(stage: Any = DRAW, **more: Any) -> Pipeline:
    stages = stage if isinstance(stage, list) else [stage]
    return Pipeline(
        **{"source": {"n": np.arange(50)}, "batch_size": 8, "stages": stages, "shuffle": True, "seed": 5, **more}
    )


def noise(batches: Any) -> list[float]:
    return [value for batch in batches for value in np.asarray(batch["noise"]).ravel().tolist()]


def whole(batch: Any) -> dict[str, np.ndarray]:
    """A batch without its padding; a single element as it is."""
    there = getattr(batch, "valid_mask", ...)
    return {name: np.asarray(array)[np.asarray(there) if np.ndim(array) else ...] for name, array in batch.items()}


def by_record(batches: Any) -> dict[int, float]:
    pairs = [zip(np.ravel(batch["n"]).tolist(), noise([batch]), strict=True) for batch in batches]
    return dict(itertools.chain.from_iterable(pairs))


@kinds
def test_draws_do_not_depend_on_who_makes_a_batch_or_when(stage: Any) -> None:
    with make(stage) as pipeline:
        expected = [noise(pipeline), noise(pipeline)]
    assert len(set(expected[0] + expected[1])) == 100  # no two records, no two epochs share one
    for more in (
        {"num_workers": 2, "prefetch_size": 5},
        {"prefetch_size": 0, "device": 2},
        {"sharding": jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))},
        {"seed": None, "rngs": np.uint8(5)},
    ):
        with make(stage, **more) as pipeline:
            next(iter(pipeline))  # an epoch that is left early, with batches ahead
            pipeline.set_state({**pipeline.get_state(), "step": 0})
            assert [noise(pipeline), noise(pipeline)] == expected
    with make(stage, seed=6) as pipeline:
        assert noise(pipeline) != expected[0]


@kinds
@pytest.mark.parametrize("taken", [0, 1, 6])
def test_draws_go_on_exactly_where_a_run_was_resumed(stage: Any, taken: int) -> None:
    with make(stage) as pipeline:
        expected = noise(pipeline)
    with make(stage) as pipeline:
        received = noise(itertools.islice(iter(pipeline), taken))
        state = pipeline.get_state()
    with make(stage, num_workers=1) as pipeline:
        pipeline.set_state(state)
        assert received + noise(pipeline) == expected


def test_a_record_s_draw_depends_on_nothing_but_seed_epoch_and_record() -> None:
    with make(DRAW_EACH) as pipeline:
        expected = by_record(pipeline)
    for more in (
        {"batch_size": 7},
        {"enforce_batch": False},
        {"shuffle": False},
        {"pad_last": True},
        {"shard": ShardOptions(1, 2), "drop_last": True},
    ):
        with make(DRAW_EACH, **more) as pipeline:
            found = by_record(map(whole, pipeline))
            assert found == {record: expected.get(record, found[record]) for record in found}
            assert len(found.keys() & expected.keys()) >= 24


def test_a_skipped_record_takes_nobody_elses_draw_away() -> None:
    def damaged(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] in (3, 11):
            raise ValueError("damaged")
        return record

    with make(DRAW_EACH) as pipeline:
        expected = by_record(pipeline)
    for pad in (False, True):
        with make([damaged, DRAW_EACH], on_error="skip", pad_last=pad) as pipeline:
            found = by_record(map(whole, pipeline))
        assert found == {record: value for record, value in expected.items() if record not in (3, 11)}


@kinds
def test_two_random_stages_and_two_shards_share_no_draw(stage: Any) -> None:
    def more(batch: dict[str, Any], key: jax.Array) -> dict[str, Any]:
        return {**batch, "more": stage.fn(batch, key)["noise"]}

    again = RandomDeviceStage(more, per_record=stage.per_record)
    seen: list[float] = []
    for index in (0, 1):
        with make([stage, again], shard=ShardOptions(index, 2), drop_last=True) as pipeline:
            for batch in pipeline:
                seen += noise([batch]) + batch["more"].tolist()
    assert len(seen) == len(set(seen)) == 2 * 48


def test_an_epoch_entered_elastically_repeats_no_draw() -> None:
    with make() as pipeline:
        received = noise(itertools.islice(iter(pipeline), 3))
        state = pipeline.get_state()
    with make(batch_size=5) as pipeline:
        pipeline.set_state(state, elastic=True)
        assert len({*received, *noise(pipeline)}) == 50


@kinds
def test_draws_need_a_seed(stage: Any) -> None:
    with pytest.raises(ValueError, match="a random stage needs rngs"):
        make(stage, shuffle=False, seed=None)


@kinds
def test_draws_pass_a_guard_against_implicit_transfers(stage: Any) -> None:
    with make(stage) as pipeline:
        expected = noise(pipeline)
    with jax.transfer_guard_host_to_device("disallow"), make(stage) as pipeline:
        batches = list(pipeline)
    assert noise(batches) == expected


def test_draws_follow_jax_s_kind_of_generator_and_are_the_same_with_64_bits() -> None:
    stage = DRAW_EACH
    with make(stage) as pipeline:
        expected = noise(pipeline)
    kinds_seen: list[Any] = []

    def kind(batch: dict[str, Any], key: jax.Array) -> dict[str, Any]:
        kinds_seen.append(str(jax.random.key_impl(key)))
        return stage.fn(batch, key)  # type: ignore[no-any-return]

    with jax.default_prng_impl("rbg"), make(RandomDeviceStage(kind, stage.per_record)) as pipeline:
        assert len(set(noise(pipeline))) == 50
    assert set(kinds_seen) == {"rbg"}
    single = jax.vmap(lambda key: jax.random.uniform(key, (), np.float32))
    with (
        jax.enable_x64(True),
        make(RandomDeviceStage(lambda _, keys: {"noise": single(keys)}, per_record=True)) as wide,
    ):
        assert noise(wide) == expected


@pytest.mark.parametrize("kind", [DeviceStage, RandomDeviceStage])
def test_what_is_no_function_is_an_error_at_once(kind: Any) -> None:
    with pytest.raises(TypeError, match=rf"stages\[0\]: {kind.__name__} needs a callable, got int"):
        make(kind(3))


class Jitter(nnx.Module):
    """Draws twice from one stream, and once from another, which was split."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rngs = rngs
        self.apart = nnx.RngStream(jax.random.split(jax.random.key(9), 8), tag="apart")

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        first, second = self.rngs.uniform(batch["n"].shape), self.rngs.aug.uniform(batch["n"].shape)
        keys = jax.vmap(jax.random.fold_in)(self.apart.key[...], self.apart.count[...])
        third = jax.vmap(jax.random.uniform)(keys)[: len(batch["n"])]
        return {"n": batch["n"], "noise": jax.numpy.stack([first, second, third, self.rngs.uniform(first.shape)])}


def jitter() -> Jitter:
    return Jitter(nnx.Rngs(1, aug=2))


def test_a_module_with_rngs_draws_by_epoch_and_step_and_does_not_move_on_with_batches() -> None:
    module = jitter()
    with make(module) as pipeline:
        before = frozen(module)
        expected = [noise(pipeline), noise(pipeline)]
        assert frozen(module) == before
    assert len(set(expected[0] + expected[1])) == 400
    for more in ({"num_workers": 2, "prefetch_size": 4}, {"prefetch_size": 0}):
        with make(jitter(), **more) as pipeline:
            for _ in range(2):
                next(iter(pipeline))  # epochs that are left early, with batches ahead
            pipeline.set_state({**pipeline.get_state(), "epoch": 0, "step": 0})
            assert [noise(pipeline), noise(pipeline)] == expected
    with make(jitter()) as pipeline:
        received = noise(itertools.islice(iter(pipeline), 3))
        state = pipeline.get_state()
    with make(jitter()) as pipeline:
        pipeline.set_state(state)
        assert received + noise(pipeline) == expected[0]


def frozen(module: Jitter) -> list[list[int]]:
    """Where the module's streams are."""
    streams = [module.rngs.default, module.rngs.aug, module.apart]
    return [np.ravel(part).tolist() for s in streams for part in (jax.random.key_data(s.key[...]), s.count[...])]


def test_the_next_pipeline_with_the_same_module_draws_something_else() -> None:
    module = jitter()
    seen: list[float] = []
    for _ in range(3):
        with make(module) as pipeline:
            seen += noise(pipeline)
    assert len(set(seen)) == len(seen)


def test_a_module_with_rngs_needs_no_seed() -> None:
    with make(jitter(), shuffle=False, seed=None) as one, make(jitter(), shuffle=False, seed=None) as other:
        assert noise(one) == noise(other)


class Counting(nnx.Module):
    """Knows how many batches it has seen, and their sum."""

    def __init__(self) -> None:
        self.seen, self.total = nnx.Variable(jnp.zeros((), int)), nnx.BatchStat(jnp.zeros((), int))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.seen[...] += 1
        self.total[...] += batch["n"].sum()
        return {"n": batch["n"], "seen": jnp.full(batch["n"].shape, self.seen[...])}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("single", [False, True])
def test_a_module_that_changes_has_seen_the_batches_that_the_caller_has_and_no_others(
    workers: int, single: bool
) -> None:
    module, rows = Counting(), 1 if single else 2
    with Pipeline(
        source={"n": np.arange(12)},
        stages=[module],
        batch_size=rows,
        enforce_batch=not single,
        num_workers=workers,
        prefetch_size=4,
    ) as pipeline:
        for count, batch in enumerate(pipeline, 1):
            assert int(module.seen[...]) == count == np.max(batch["seen"])
            assert int(module.total[...]) == sum(range(rows * count))


def test_groups_of_batches_change_a_module_when_they_are_handed_over() -> None:
    module = Counting()
    with Pipeline(source={"n": np.arange(12)}, stages=[module], batch_size=2, prefetch_size=4) as pipeline:
        seen = [(int(module.seen[...]), group["seen"][:, 0].tolist()) for group in pipeline.stacked(2)]
    assert seen == [(2, [1, 2]), (4, [3, 4]), (6, [5, 6])]


def test_a_module_goes_on_exactly_from_its_own_state_and_the_pipelines() -> None:
    def make(module: Counting) -> Pipeline[Any]:
        return Pipeline(source={"n": np.arange(12)}, stages=[module], batch_size=2, shuffle=True, seed=3)

    with make(Counting()) as whole:
        expected = [(batch["n"].tolist(), batch["seen"].tolist()) for batch in whole]
    first = Counting()
    with make(first) as pipeline:
        iterator = iter(pipeline)
        found = [(batch["n"].tolist(), batch["seen"].tolist()) for _, batch in zip(range(2), iterator, strict=False)]
        state, kept = pipeline.get_state(), nnx.to_pure_dict(nnx.state(first))
    second = Counting()
    nnx.update(second, kept)
    with make(second) as pipeline:
        pipeline.set_state(state)
        found += [(batch["n"].tolist(), batch["seen"].tolist()) for batch in pipeline]
    assert found == expected


def test_looking_at_one_batch_leaves_a_module_as_it_is() -> None:
    module = Counting()
    with Pipeline(source={"n": np.arange(12)}, stages=[module], batch_size=2) as pipeline:
        assert pipeline.at(epoch=0, step=3)["n"].tolist() == [6, 7]
        assert (int(module.seen[...]), int(module.total[...])) == (0, 0)
        assert [batch["seen"].tolist() for batch in pipeline][-1] == [6, 6]
