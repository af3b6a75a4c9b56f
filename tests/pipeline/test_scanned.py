"""``Pipeline.scan``: what comes out is what a loop over single batches gives, bit for bit."""

from __future__ import annotations

import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from datarax_mp import DeviceStage, Pipeline, RandomDeviceStage
from datarax_mp.pipeline.iterator import PipelineIterator
from datarax_mp.testing import kill_workers

LENGTH, ROWS = 205, 8  # 25 whole batches, and one of five records


def make(workers: int = 0, **options: Any) -> Pipeline[Any]:
    rng = np.random.default_rng(0)
    columns = {
        "x": rng.normal(size=(LENGTH, 16)).astype(np.float32),
        "y": rng.integers(0, 2, LENGTH).astype(np.int32),
        "n": np.arange(LENGTH),
    }
    options = {"source": columns, "batch_size": ROWS, "shuffle": True, "seed": 0, **options}
    return Pipeline(num_workers=workers, **options)


class Net(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(16, 32, rngs=rngs), nnx.Linear(32, 2, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.last(self.dropout(nnx.relu(self.first(x))))


def training() -> tuple[Net, Any]:
    net = Net()
    return net, nnx.Optimizer(net, optax.adam(1e-2), wrt=nnx.Param)


def train(net: Net, optimizer: Any, batch: Any) -> Any:
    def loss_of(net: Net) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(net(batch["x"]), batch["y"]).mean()

    loss, grads = nnx.value_and_grad(loss_of)(net)
    optimizer.update(net, grads)
    return loss


def looped(pipeline: Pipeline[Any], length: int, modules: Any) -> np.ndarray:
    """The losses of a loop over single batches."""
    step, losses = nnx.jit(train), []
    while len(losses) < length:
        for batch in pipeline:
            losses.append(step(*modules, batch))
            if len(losses) == length:
                break
    return np.array(losses)


def plain(arrays: list[Any]) -> list[np.ndarray]:
    keys = jax.dtypes.prng_key
    return [np.asarray(jax.random.key_data(a) if jnp.issubdtype(a.dtype, keys) else a) for a in arrays]


@pytest.mark.parametrize(("workers", "options"), [(2, {}), (0, {"drop_last": True})])
def test_losses_and_parameters_are_bit_equal_to_those_of_a_loop(workers: int, options: dict[str, Any]) -> None:
    wanted, found = training(), training()
    with make(0, **options) as pipeline:
        losses = looped(pipeline, 136, wanted)
        state = pipeline.get_state()
    with make(workers, **options) as pipeline:
        parts = [pipeline.scan(train, length=length, modules=found) for length in (70, 66)]
        assert pipeline.get_state() == state
    assert [part.shape for part in parts] == [(70,), (66,)]
    assert np.array_equal(np.concatenate(parts), losses)
    assert all(
        np.array_equal(a, b)
        for one, other in zip(wanted, found, strict=True)
        for a, b in zip(*(plain(jax.tree.leaves(nnx.state(of))) for of in (one, other)), strict=True)
    )


def test_a_carry_goes_through_all_steps() -> None:
    def step(carry: Any, batch: Any) -> Any:
        total, seen = carry
        return (total + batch["n"].sum(), seen + 1), {"first": batch["n"][0], "carry": carry[1]}

    with make(2) as pipeline, make(0) as plain:
        (total, seen), out = pipeline.scan(step, length=40, init_carry=(0, 0))
        firsts, sums = [], []
        for batch in (batch for _ in range(2) for batch in plain):
            firsts.append(int(batch["n"][0]))
            sums.append(int(batch["n"].sum()))
    assert (int(total), int(seen)) == (sum(sums[:40]), 40)
    assert out["first"].tolist() == firsts[:40]
    assert out["carry"].tolist() == list(range(40))


def test_it_goes_on_where_the_newest_iterator_is_and_leaves_the_place_to_the_next() -> None:
    numbers = lambda batch: batch["n"]  # noqa: E731
    with make(0, drop_last=True) as plain:
        stream = [batch["n"].tolist() for _ in range(3) for batch in plain]
    with make(2, drop_last=True) as pipeline:
        iterator = iter(pipeline)
        got = [next(iterator)["n"].tolist() for _ in range(3)]
        got += pipeline.scan(numbers, length=5).tolist()
        got += [pipeline.step()["n"].tolist() for _ in range(2)]
        got += pipeline.scan(numbers, length=30).tolist()
        state = pipeline.get_state()
        assert got == stream[:40]
        assert [batch["n"].tolist() for batch in pipeline] == stream[50:75]  # a loop begins the next epoch
        pipeline.set_state(state)
        assert pipeline.scan(numbers, length=4).tolist() == stream[40:44]
        pipeline.set_state(state)
        assert [batch["n"].tolist() for batch in pipeline] == stream[40:50]


def test_an_iterator_is_kept_from_scan_to_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    begin = PipelineIterator.begin

    def counted(self: PipelineIterator[Any]) -> None:
        begun.append(self)
        begin(self)

    monkeypatch.setattr(PipelineIterator, "begin", counted)
    with make(0, batch_size=1) as pipeline:
        for _ in range(20):
            pipeline.scan(first, length=10)
    assert len(begun) == 1


def first(batch: Any) -> Any:
    return batch["n"][0]


def test_nothing_is_compiled_again_for_another_length() -> None:
    traced: list[int] = []

    def step(batch: Any) -> Any:
        traced.append(len(batch["n"]))
        return batch["n"][0]

    with make(0) as pipeline:
        pipeline.scan(step, length=64)
        count = len(traced)
        assert set(traced) == {8, 5}
        for length in (65, 66, 100, 203):
            pipeline.scan(step, length=length)
    assert len(traced) == count


def test_steps_whose_records_are_all_skipped_are_not_counted() -> None:
    def fussy(record: dict[str, Any]) -> dict[str, Any]:
        if 16 <= record["n"] < 24:
            raise ValueError("no good")
        return record

    with make(1, stages=[fussy], on_error="skip", shuffle=False) as pipeline:
        assert pipeline.scan(first, length=5).tolist() == [0, 8, 24, 32, 40]
        assert pipeline.get_state()["step"] == 6
        assert pipeline.skipped == 8


def test_padding_is_marked() -> None:
    with make(1, pad_last=True) as pipeline:
        real = pipeline.scan(lambda batch: batch.valid_mask.sum(), length=26)
    assert real.tolist() == [8] * 25 + [5]


class Count(nnx.Module):
    def __init__(self) -> None:
        self.steps = nnx.Variable(jnp.zeros((), jnp.int32))


class Centre(nnx.Module):
    """A module among the stages, whose state moves on."""

    def __init__(self) -> None:
        self.mean = nnx.BatchStat(jnp.zeros(16))

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.mean[...] = 0.9 * self.mean[...] + 0.1 * batch["x"].mean(0)
        return {**batch, "x": batch["x"] - self.mean[...]}


def test_device_stages_are_applied_to_every_batch() -> None:
    def total(count: Any, batch: Any) -> Any:
        count.steps[...] += 1
        return batch["x"].sum(1) * count.steps[...]

    def stages() -> list[Any]:
        noise = RandomDeviceStage(lambda batch, key: {**batch, "x": batch["x"] + jax.random.normal(key, (16,))})
        return [DeviceStage(lambda batch: {**batch, "x": batch["x"] * 2}), noise, Centre()]

    step = nnx.jit(total)
    wanted, found = Count(), Count()
    with make(0, stages=stages(), drop_last=True) as one, make(2, stages=stages(), drop_last=True) as pipeline:
        totals = [step(wanted, batch) for _ in range(2) for batch in one]
        scanned = pipeline.scan(total, length=50, modules=[found])
    # Stages and step are one computation there, which newer compilers fuse, so that sums are rounded otherwise.
    np.testing.assert_allclose(scanned, totals, rtol=1e-4, atol=1e-2)


def test_what_is_raised_leaves_the_steps_before_it_done() -> None:
    def fussy(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 8 * 20:
            raise ValueError("no good")
        return record

    def step(count: Count, batch: Any) -> None:
        count.steps[...] += 1

    count = Count()
    with make(2, stages=[fussy], shuffle=False) as pipeline:
        with pytest.raises(ValueError, match="no good"):
            pipeline.scan(step, length=30, modules=[count])
        assert int(count.steps[...]) == pipeline.get_state()["step"] == 20


def test_what_a_step_raises_is_raised() -> None:
    def step(batch: Any) -> Any:
        raise KeyError("mine")

    with make() as pipeline, pytest.raises(KeyError, match="mine"):
        try:
            pipeline.scan(step, length=3)
        finally:
            assert pipeline.get_state()["step"] == 0  # nothing is used up


def test_what_has_no_meaning_is_refused() -> None:
    with make() as pipeline:
        with pytest.raises(ValueError, match="length must be at least 1"):
            pipeline.scan(first, length=0)
        with pytest.raises(TypeError, match="modules must be a list"):
            pipeline.scan(first, length=1, modules=Net())  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="scan needs a function"):
            pipeline.scan(3, length=1)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"returns \(carry, out\)"):
            pipeline.scan(lambda carry, batch: carry, length=1, init_carry=jnp.zeros(3))
        with pytest.raises(ValueError, match="set drop_last"):
            pipeline.scan(lambda batch: batch["n"], length=26)
    with make(output="numpy") as arrays, pytest.raises(ValueError, match="runs on the device"):
        arrays.scan(first, length=1)
    with make(enforce_batch=False) as elements, pytest.raises(ValueError, match="about batches"):
        elements.scan(first, length=1)
    with make(batch_size=LENGTH + 1, drop_last=True) as empty, pytest.raises(ValueError, match="has no batch"):
        empty.scan(first, length=1)
    with make() as closed:
        closed.scan(first, length=1)
    with pytest.raises(RuntimeError, match="the pipeline is closed"):
        closed.scan(first, length=1)


def test_workers_that_die_between_two_scans_and_within_one_change_nothing() -> None:
    with make(0, drop_last=True) as plain:
        firsts = [int(batch["n"][0]) for _ in range(8) for batch in plain]
    with make(2, drop_last=True) as pipeline:
        found = pipeline.scan(first, length=20).tolist()
        assert kill_workers()
        found += pipeline.scan(first, length=20).tolist()
        killing = threading.Thread(target=kill_workers)
        killing.start()
        found += pipeline.scan(first, length=160).tolist()
        killing.join()
    assert found == firsts
