"""Tensors over the memory of a slot: values, dtypes, and for how long they hold it."""

from __future__ import annotations

import copy
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from datarax_mp import BatchOps, Pipeline
from tests.host_batches import HandMade, delivery, opened

torch = pytest.importorskip("torch")

COLUMNS = {"x": np.arange(10, dtype=np.float32), "deep": {"y": np.arange(20, dtype=np.int32).reshape(10, 2)}}
ROWS = 4
DTYPES = ["bool", "float16", "float32", "float64", "complex64", "complex128"]
DTYPES += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
DTYPES += ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]


def test_a_batch_has_tensors_under_their_names_and_a_mask_of_the_same_kind() -> None:
    made = HandMade(COLUMNS, ROWS)
    bound = opened(delivery(output="torch"), made)
    batches = [bound.take(batch) for batch in made]
    assert [batch["x"].tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert batches[2]["deep"]["y"].tolist() == [[16, 17], [18, 19]]
    for value in (batches[2]["x"], batches[2]["deep"]["y"], batches[2].valid_mask):
        assert isinstance(value, torch.Tensor)
    assert batches[2].valid_mask.tolist() == [True, True]
    assert batches[0].slice(1, 3)["x"].tolist() == [1, 2]
    assert batches[0].get_element(3).data["x"].item() == 3


def test_padding_is_masked() -> None:
    made = HandMade(COLUMNS, ROWS, padded=True)
    bound = opened(delivery(output="torch", padded=True), made)
    assert bound.take(made.batch(2)).valid_mask.tolist() == [True, True, False, False]


def test_a_tensor_looks_into_the_slot() -> None:
    made = HandMade(COLUMNS, ROWS)
    batch = opened(delivery(output="torch"), made).take(made.batch(0))
    made.batch(0).arrays()[0][1] = 17
    assert batch["x"].tolist() == [0, 17, 2, 3]
    batch["x"][2] = 18
    assert made.batch(0).arrays()[0].tolist() == [0, 17, 18, 3]


@pytest.mark.parametrize(
    "keep",
    [
        lambda batch: batch,
        lambda batch: batch["deep"]["y"],
        lambda batch: batch["deep"]["y"][1:, 0],
        lambda batch: batch["deep"]["y"].t().unsqueeze(0).detach(),
        lambda batch: batch["deep"]["y"].numpy()[0],
        lambda batch: batch["x"].view(torch.int32),
        lambda batch: next(iter(torch.utils.data.TensorDataset(batch["x"])))[0],
        lambda batch: torch.from_dlpack(batch["x"]),
    ],
    ids=["batch", "tensor", "view", "view of views", "numpy", "other dtype", "torch's data set", "DLPack"],
)
def test_a_slot_is_held_as_long_as_anything_looks_into_it(keep: Callable[[Any], Any]) -> None:
    made = HandMade(COLUMNS, ROWS)
    memory = weakref.ref(made.memory)
    kept = keep(opened(delivery(output="torch"), made).take(made.batch(0)))
    del made
    assert memory() is not None
    del kept
    assert memory() is None


def test_a_copy_holds_nothing() -> None:
    made = HandMade(COLUMNS, ROWS)
    memory = weakref.ref(made.memory)
    kept = opened(delivery(output="torch"), made).take(made.batch(0))["x"].clone()
    del made
    assert memory() is None
    assert kept.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_that_torch_knows_arrives_with_its_values(name: str) -> None:
    values = np.array([0, 1, 2, 4], np.dtype(getattr(ml_dtypes, name, name)))
    made = HandMade({"x": values}, 4)
    found = opened(delivery(output="torch"), made).take(made.batch(0))["x"]
    assert found.dtype == getattr(torch, name)
    assert found.to(torch.complex128).tolist() == [complex(value) for value in values]


@pytest.mark.parametrize("name", ["M8[s]", "float128", ">f4" if sys.byteorder == "little" else "<f4", "float8_e3m4"])
def test_a_dtype_that_torch_lacks_is_an_error_that_names_field_and_remedy(name: str) -> None:
    columns = {"deep": {"t": np.zeros(4, np.dtype(getattr(ml_dtypes, name, name)))}}
    with (
        Pipeline(source=columns, batch_size=2, output="torch") as pipeline,
        pytest.raises(TypeError, match=r"field 'deep/t': torch has no tensors of dtype .*output='numpy'"),
    ):
        next(iter(pipeline))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_list_of_an_epoch_and_views_kept_over_the_next_one_never_change(workers: int) -> None:
    images = np.arange(200 * 3, dtype=np.int64).reshape(200, 3)
    with Pipeline(source={"image": images}, batch_size=ROWS, num_workers=workers, output="torch") as pipeline:
        kept = [batch["image"] for batch in pipeline]
        views = [batch["image"][1:, 2] for batch in pipeline]
        for _ in pipeline:
            pass
    assert torch.equal(torch.cat(kept), torch.from_numpy(images))
    assert torch.equal(torch.cat(views), torch.from_numpy(images.reshape(50, ROWS, 3)[:, 1:, 2].ravel()))


def test_several_steps_lie_in_one_tensor() -> None:
    pipeline = Pipeline(source={"x": np.arange(8)}, batch_size=2, output="torch")
    assert [group["x"].tolist() for group in pipeline.stacked(2)] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_elements_are_tensors_without_a_batch_axis() -> None:
    records = [{"x": [number, number], "text": str(number)} for number in range(3)]
    elements = list(Pipeline(source=records, batch_size=2, output="torch", enforce_batch=False))
    assert [element["x"].tolist() for element in elements] == [[0, 0], [1, 1], [2, 2]]
    assert elements[2]["text"] == "2"


def test_what_is_done_with_batches_is_done_with_tensors() -> None:
    source = {"x": np.arange(8, dtype=np.float32), "h": np.arange(8).astype(ml_dtypes.bfloat16)}
    one, two = Pipeline(source=source, batch_size=4, output="torch")
    joined = BatchOps.concatenate_batch_sequence([one, two])
    chosen = BatchOps.select_batch_rows(one, torch.tensor([True, False, False, True]))
    for batch, rows in ((joined, range(8)), (chosen, [0, 3]), (two.split_for_devices(2)[1], [6, 7])):
        for name, dtype in (("x", torch.float32), ("h", torch.bfloat16)):
            assert torch.equal(batch[name], torch.tensor(rows, dtype=dtype))
            assert batch[name].dtype == dtype
        assert batch.valid_mask.tolist() == [True] * len(rows)
    assert one == copy.deepcopy(one) == pickle.loads(pickle.dumps(one))
    assert one != two
    stats = one.compute_stats()
    assert (stats["x_mean"].item(), stats["h_max"].item()) == (1.5, 3)
    assert stats["h_max"].dtype == torch.bfloat16
