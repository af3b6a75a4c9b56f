"""Stages of stages, and records that are mixed with others of their batch."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from datarax_mp import (
    CutMix,
    DeviceStage,
    Filter,
    FlatMap,
    MapBatch,
    MapElement,
    MixUp,
    Pad,
    Pipeline,
    RandomDeviceStage,
    RandomFlip,
    RandomMapBatch,
    RandomMapElement,
    chain,
    one_of,
    sometimes,
)
from datarax_mp.stages.graph import graph_stage
from datarax_mp.testing import assert_same_stream
from tests.shown import shown

LENGTH = 400


def plus(number: int) -> Any:
    return lambda data: {**data, "x": data["x"] + number}


def drawn(data: Any, rng: np.random.Generator) -> Any:
    return {**data, "x": data["x"] + rng.integers(1, 1000, dtype=np.int32)}


def drawn_each(data: Any, keys: Any) -> Any:
    return {**data, "x": data["x"] + jax.vmap(lambda key: jax.random.randint(key, (), 1, 1000))(keys)}


def drawn_once(data: Any, key: Any) -> Any:
    return {**data, "x": data["x"] + jax.random.randint(key, (), 1, 1000)}


def make(*stages: Any, workers: int = 0, **more: Any) -> Pipeline[Any]:
    options = {"source": {"x": np.zeros(LENGTH, np.int32), "n": np.arange(LENGTH)}, "batch_size": 4, "seed": 0, **more}
    return Pipeline(stages=list(stages), num_workers=workers, **options)


def found(*stages: Any, **more: Any) -> list[int]:
    """Field ``x`` of all records."""
    with make(*stages, **more) as pipeline:
        return [value for batch in pipeline for value in np.asarray(batch["x"]).tolist()]


def in_batches(values: list[int]) -> list[set[int]]:
    return [set(values[start : start + 4]) for start in range(0, len(values), 4)]


def alike(share: float, of: int) -> Any:
    """Within five standard deviations."""
    return pytest.approx(share * of, abs=5 * (share * (1 - share) * of) ** 0.5)


# --- chain


def test_a_chain_is_its_stages_one_behind_the_other() -> None:
    for stage in (
        chain(plus(1), MapElement(plus(2))),
        chain(MapBatch(plus(1)), MapBatch(plus(2))),
        chain(DeviceStage(plus(1)), DeviceStage(plus(2))),
    ):
        assert not stage.random
        assert found(stage) == [3] * LENGTH
    for stage in (
        chain(RandomMapElement(drawn), plus(5000)),
        chain(RandomMapBatch(drawn), MapBatch(plus(5000))),
        chain(RandomDeviceStage(drawn_each, per_record=True), DeviceStage(plus(5000))),
        chain(RandomDeviceStage(drawn_once), DeviceStage(plus(5000))),
    ):
        assert stage.random
        assert all(5000 < value < 6000 for value in found(stage))


# --- one_of


@pytest.mark.parametrize(
    ("members", "each"),
    [
        ([plus(1), plus(2)], True),
        ([MapBatch(plus(1)), MapBatch(plus(2))], False),
        ([DeviceStage(plus(1)), DeviceStage(plus(2))], False),
        ([chain(DeviceStage(plus(1)), RandomDeviceStage(lambda x, _: x, per_record=True)), DeviceStage(plus(2))], True),
    ],
)
def test_one_of_several_is_drawn_by_weight_for_records_or_batches(members: list[Any], each: bool) -> None:
    values = found(one_of(*members, weights=(1, 3)))
    assert set(values) == {1, 2}
    draws = values if each else values[::4]
    assert Counter(draws)[2] == alike(0.75, len(draws))
    assert all(len(batch) == 1 for batch in in_batches(values)) is not each
    assert Counter(found(one_of(*members)))[1] == pytest.approx(LENGTH / 2, abs=LENGTH / 4)
    assert set(found(one_of(*members, weights=(0, 1)))) == {2}


def test_random_members_draw_for_themselves() -> None:
    for stage in (
        one_of(RandomMapElement(drawn), chain(RandomMapElement(drawn), plus(5000))),
        one_of(
            RandomDeviceStage(drawn_each, per_record=True),
            chain(RandomDeviceStage(drawn_each, per_record=True), DeviceStage(plus(5000))),
        ),
    ):
        values = found(stage)
        assert len({value % 5000 for value in values}) > 250  # of 400 draws from 999
        assert Counter(value > 5000 for value in values)[True] == alike(0.5, LENGTH)


def test_members_that_make_different_things_are_an_error_that_names_them() -> None:
    each = RandomDeviceStage(drawn_each, per_record=True)
    with (
        make(one_of(each, DeviceStage(lambda data: {"x": data["x"]}))) as pipeline,
        pytest.raises(ValueError, match=r"one_of\(.*all must make the same fields"),
    ):
        next(iter(pipeline))


# --- sometimes


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_a_stage_is_applied_with_a_probability(p: float) -> None:
    for stage in (
        sometimes(plus(1), p),
        sometimes(chain(DeviceStage(plus(1)), RandomDeviceStage(lambda x, _: x, per_record=True)), p),
    ):
        assert Counter(found(stage))[1] == alike(p, LENGTH)
    for stage in (sometimes(MapBatch(plus(1)), p), sometimes(DeviceStage(plus(1)), p)):
        values = found(stage)
        assert all(len(batch) == 1 for batch in in_batches(values))
        assert Counter(values[::4])[1] == alike(p, LENGTH // 4)


def test_combinations_nest_and_take_the_stages_for_images() -> None:
    pytest.importorskip("cv2")
    images = np.random.default_rng(0).integers(0, 255, (LENGTH, 4, 6, 3), np.uint8)
    flip = sometimes(one_of(RandomFlip(1.0), chain(RandomFlip(1.0), RandomFlip(1.0))), p=0.5)
    with make(flip, source={"image": images}) as pipeline:
        seen = np.concatenate([batch["image"] for batch in pipeline])
    flipped = (seen == images[:, :, ::-1]).all((1, 2, 3))
    assert ((seen == images).all((1, 2, 3)) | flipped).all()
    assert flipped.sum() == alike(0.25, LENGTH)


# --- all of them


@pytest.mark.parametrize(
    "stage",
    [
        sometimes(RandomMapElement(drawn), 0.5),
        one_of(plus(1), RandomMapElement(drawn)),
        RandomMapBatch(drawn),
        one_of(RandomMapBatch(drawn), MapBatch(plus(1))),
    ],
    ids=shown,
)
def test_the_stream_is_the_same_for_any_number_of_workers_and_another_in_every_epoch(stage: Any) -> None:
    options = {"shuffle": True, "output": "numpy"}
    with make(stage, **options) as one, make(stage, workers=2, **options) as other:
        assert_same_stream(one, other, epochs=2)
    with make(stage, output="numpy") as pipeline:
        epochs = [[batch["x"].tolist() for batch in pipeline] for _ in range(2)]
    assert epochs[0] != epochs[1]


def test_they_are_the_users_code_if_anything_in_them_is() -> None:
    assert chain(plus(1)).user_code
    assert one_of(RandomMapBatch(MixUp()), RandomMapBatch(drawn)).user_code
    assert not sometimes(RandomMapBatch(MixUp()), 0.5).user_code
    assert sometimes(chain(plus(1)), 0.5).name == "RandomMapElement(sometimes(MapElement(chain(MapElement(<lambda>)))))"


class Module(nnx.Module):
    def __call__(self, batch: Any) -> Any:
        return batch


@pytest.mark.parametrize(
    ("combine", "error", "message"),
    [
        (lambda: chain(), ValueError, "at least one"),
        (lambda: chain(3), TypeError, "no stage"),
        (lambda: chain(plus(1), MapBatch(plus(1))), ValueError, "for records, .* for batchs"),
        (lambda: one_of(plus(1), Filter(bool)), TypeError, r"Filter\(bool\) cannot be a part"),
        (lambda: chain(FlatMap(lambda record: [record], most=2)), TypeError, "cannot be a part"),
        (lambda: sometimes(Pad("x", 3), 0.5), TypeError, "cannot be a part"),
        (lambda: one_of(Module(), DeviceStage(plus(1))), TypeError, "a module, cannot be a part"),
        (lambda: one_of(plus(1), plus(2), weights=(1,)), ValueError, "weights must be a number"),
        (lambda: one_of(plus(1), weights=(0,)), ValueError, "weights must be a number"),
        (lambda: one_of(plus(1), weights=(-1,)), ValueError, "weights must be a number"),
        (lambda: sometimes(plus(1), 1.5), ValueError, "p must be from 0 to 1"),
        (lambda: MixUp(0.0), ValueError, "alpha must be above 0"),
        (lambda: CutMix(classes=0), ValueError, "classes must be at least 1"),
    ],
)
def test_what_cannot_be_combined_is_an_error(combine: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        combine()


# --- mixing

SIZE = (24, 16)


def photos(kind: Any = np.float32) -> dict[str, Any]:
    """Each image has one value, its class's number."""
    label = np.arange(8)
    return {"image": np.broadcast_to(label[:, None, None, None], (8, *SIZE, 3)).astype(kind) * 10, "label": label}


def mixed(mix: Any, data: dict[str, Any], *, device: bool) -> dict[str, np.ndarray]:
    stage = RandomDeviceStage(mix) if device else RandomMapBatch(mix)
    with make(stage, source=data, batch_size=8) as pipeline:
        batch = next(iter(pipeline))
        return {name: np.asarray(array) for name, array in batch.items()}


@pytest.mark.parametrize("device", [False, True])
@pytest.mark.parametrize("mix", [MixUp(0.8, classes=8), CutMix(classes=8)], ids=shown)
def test_labels_are_mixed_by_the_shares_of_the_images(mix: Any, device: bool) -> None:
    batch = mixed(mix, photos(), device=device)
    label = batch["label"]
    assert (label.dtype, label.shape) == (np.float32, (8, 8))
    assert np.allclose(label.sum(1), 1, atol=1e-6)
    assert np.allclose(batch["image"].mean((1, 2, 3)), label @ np.arange(8) * 10, atol=1e-3)
    own = label[np.arange(8), np.arange(8)]
    assert ((own > 0) | (label > 0).any(1)).all()
    assert len(set(own.round(4))) > 4  # each row draws for itself
    assert (own < 1).any()


@pytest.mark.parametrize("device", [False, True])
def test_integers_stay_integers_and_soft_labels_are_taken(device: bool) -> None:
    data = {**photos(np.uint8), "label": np.eye(8, dtype=np.float32)}
    batch = mixed(MixUp(0.8), data, device=device)
    assert batch["image"].dtype == np.uint8
    assert np.allclose(batch["image"].mean((1, 2, 3)), batch["label"] @ np.arange(8) * 10, atol=0.51)
    cut = mixed(CutMix(), data, device=device)
    assert set(np.unique(cut["image"])) <= set(range(0, 80, 10))


def test_a_box_is_one_box() -> None:
    for image in CutMix(classes=8)(photos(), np.random.default_rng(0))["image"][..., 0]:
        values, counts = np.unique(image, return_counts=True)
        whole = []
        for value, count in zip(values, counts, strict=True):
            rows, columns = np.nonzero(image == value)
            box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
            whole.append(count == box)
        assert any(whole)
        assert len(values) <= 2


def test_what_cannot_be_mixed_is_an_error_that_says_why() -> None:
    with pytest.raises(TypeError, match="set classes="):
        MixUp()(photos(), np.random.default_rng(0))
    with pytest.raises(TypeError, match="set classes="):
        MixUp()(jax.tree.map(jnp.asarray, photos()), jax.random.key(0))
    with pytest.raises(KeyError, match="expected a batch with the field 'picture'"):
        MixUp(image="picture")(photos(), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"must be \(rows, H, W"):
        CutMix(classes=8)({"image": np.zeros((8, 3)), "label": np.arange(8)}, np.random.default_rng(0))


def jitted(mix: Any, data: dict[str, Any]) -> np.ndarray:
    """The labels that come of it where they cannot be looked at."""
    mixed = jax.jit(lambda batch, key: mix(batch, key))(jax.tree.map(jnp.asarray, data), jax.random.key(0))
    return np.asarray(mixed["label"])


def test_with_classes_labels_are_class_numbers_and_nothing_else() -> None:
    def mix(label: Any, *, device: bool) -> Any:
        data = {"image": np.zeros((4, 2, 2)), "label": label}
        if not device:
            return CutMix(classes=3)(data, np.random.default_rng(0))["label"]
        return jitted(CutMix(classes=3), data)

    for device in (False, True):
        for right in (np.array([0, 1, 2, 1], np.uint8), np.array([True, False, True, True])):
            assert np.asarray(mix(right, device=device)).sum(1).round(5).tolist() == [1] * 4
        with pytest.raises(ValueError, match=r"'label': expected class numbers, .* \(rows,\), found shape \(4, 1\)"):
            mix(np.zeros((4, 1), int), device=device)
        with pytest.raises(ValueError, match=r"found shape \(4, 3\)\. Leave classes= out"):
            mix(np.eye(4, 3, dtype=np.float32), device=device)
        with pytest.raises(TypeError, match="which are integers, found float32"):
            mix(np.zeros(4, np.float32), device=device)


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_label_that_is_none_of_the_classes_does_not_become_zeros(wrong: int) -> None:
    data = {"image": np.zeros((4, 2, 2)), "label": np.array([0, 1, wrong, 2])}
    with pytest.raises(ValueError, match=f"from 0 to 2, found {wrong} in row 2 of a batch"):
        MixUp(classes=3)(data, np.random.default_rng(0))
    label = jitted(MixUp(classes=3), data)
    assert np.isnan(label[2]).all()
    assert 1 <= np.isnan(label).all(1).sum() <= 2  # and of the row that is mixed with it


def test_padding_is_not_mixed_in() -> None:
    device = sometimes(RandomDeviceStage(MixUp(classes=8)), 0.5)
    with pytest.raises(ValueError, match="pad_last=True adds rows of zeros"):
        make(device, source=photos(), batch_size=3, pad_last=True)
    with make(RandomMapBatch(MixUp(1.0)), source={**photos(), "label": np.eye(8)}, batch_size=3, pad_last=True) as host:
        *_, last = host
    assert np.asarray(last["label"]).sum(1).round(5).tolist() == [1, 1, 0]


def test_nor_by_a_node_of_a_graph() -> None:
    class Mixing(nnx.Module):
        mixes_rows = True

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            return batch

    def unchanged(batch: dict[str, Any]) -> dict[str, Any]:
        return batch

    mix = RandomDeviceStage(MixUp(classes=8))
    inner = graph_stage({"mix": mix}, {}, "mix")
    for node in (mix, sometimes(mix, 0.5), inner, Mixing(), graph_stage({"mix": Mixing()}, {}, "mix")):
        nodes = {"first": unchanged, "then": node}
        graph: dict[str, Any] = {"nodes": nodes, "edges": {"then": ["first"]}, "sink": "then"}
        with pytest.raises(ValueError, match="pad_last=True adds rows of zeros"):
            Pipeline.from_dag(source=photos(), batch_size=3, pad_last=True, seed=0, **graph)
        Pipeline.from_dag(source=photos(), batch_size=3, drop_last=True, seed=0, **graph).close()
    plain: dict[str, Any] = {"nodes": {"first": unchanged}, "edges": {}, "sink": "first"}
    Pipeline.from_dag(source=photos(), batch_size=3, pad_last=True, **plain).close()
