"""What is large in a user's objects lies beside the pickle, once, and is in a worker what it is in main."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import Pipeline
from datarax_mp.shipping.arrival import unpack
from datarax_mp.shipping.package import SerializedRecipe
from tests.recipes import recipe_of

BIG = np.arange(200_000)


class Holder:
    """A data set of the user's own."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __len__(self) -> int:
        return 10

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": number}


class Named(np.ndarray):
    """A subclass that says nothing of how it is pickled."""

    name = ""


def shipped(value: Any) -> SerializedRecipe:
    return SerializedRecipe(recipe_of(Holder(value)), 1)


def load(serialized: SerializedRecipe) -> Any:
    return unpack(serialized.message(probe=None), [os.dup(fd) for fd in serialized.descriptors]).source.value


def travelled(value: Any, *, segment: int) -> Any:
    """What arrives; ``segment`` is about how large the program's segment may be."""
    serialized = shipped(value)
    assert serialized.message(probe=None).parts[0].size < 10_000  # the pickle itself
    assert serialized.segments[0].size < segment + 20_000
    return load(serialized)


ARRAYS: dict[str, Callable[[], np.ndarray]] = {
    "plain": lambda: BIG,
    "Fortran": lambda: np.asfortranarray(BIG.reshape(400, 500)),
    "backwards": lambda: BIG[::-1],
    "broadcast": lambda: np.broadcast_to(BIG, (10**9, len(BIG))),
    "windows": lambda: np.lib.stride_tricks.sliding_window_view(BIG, 1000),
    "dates": lambda: BIG.astype("M8[s]"),
    "structured": lambda: np.zeros(100_000, [("a", np.int8), ("b", np.int64)]),
    "text": lambda: BIG[:50_000].astype("U6"),
    "complex": lambda: BIG[:100_000] * 1j,
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_travel_out_of_band_with_their_strides(kind: str) -> None:
    array = ARRAYS[kind]()
    again = travelled(array, segment=1_600_000)
    assert (type(again), again.dtype, again.shape, again.strides) == (
        type(array),
        array.dtype,
        array.shape,
        array.strides,
    )
    assert again.flags.writeable == array.flags.writeable
    assert np.array_equal(again[:1000], array[:1000])


def test_of_a_view_with_gaps_only_what_it_shows_travels() -> None:
    assert np.array_equal(travelled(BIG[::10], segment=160_000), BIG[::10])
    assert np.array_equal(travelled(BIG.reshape(400, 500)[:, :50], segment=160_000), BIG.reshape(400, 500)[:, :50])


def test_a_subclass_keeps_its_attributes_and_a_masked_array_its_mask() -> None:
    named = BIG.view(Named)
    named.name = "n"
    again = travelled(named, segment=1_600_000)
    assert (type(again).__name__, again.name, int(again[7])) == ("Named", "n", 7)
    masked = np.ma.masked_array(BIG, BIG % 3 == 0, fill_value=-5)
    again = travelled(masked, segment=1_800_000)
    assert again.mask.tolist() == masked.mask.tolist()
    assert again.filled().tolist() == masked.filled().tolist()


def test_masked_arrays_without_a_mask_and_empty_and_scalar_subclasses_arrive_as_they_are() -> None:
    assert travelled(np.ma.masked_array(BIG), segment=1_600_000).mask is np.ma.nomask
    for small in (BIG[:0].view(Named), np.array(5).view(Named), np.zeros((0, 3), "V4").view(Named)):
        small.name = "n"
        again = travelled(small, segment=0)
        assert (again.shape, again.dtype, again.name) == (small.shape, small.dtype, "n")
        assert again.tobytes() == small.tobytes()


def test_a_subclass_with_a_way_of_its_own_to_be_pickled_keeps_it() -> None:
    class Own(np.ndarray):
        unit = ""

        def __reduce__(self) -> Any:
            kind, arguments, state = super().__reduce__()
            return kind, arguments, (*state, "metres")

        def __setstate__(self, state: Any) -> None:
            self.unit = state[-1]
            super().__setstate__(state[:-1])

    assert load(shipped(BIG.view(Own))).unit == "metres"


def test_the_same_memory_travels_once() -> None:
    one, two = travelled([BIG, BIG[:]], segment=1_600_000)
    two[0] = 9
    assert one[0] == 9


def test_a_read_only_array_stays_read_only_and_what_a_worker_writes_is_its_own() -> None:
    serialized = shipped(BIG)
    first, second = load(serialized), load(serialized)
    first[0] = 5
    assert (second[0], BIG[0]) == (0, 0)
    frozen = BIG.copy()
    frozen.flags.writeable = False
    assert not load(shipped(frozen)).flags.writeable


# --- memory-mapped files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    BIG.tofile(tmp_path / "values")
    return tmp_path / "values"


def in_closure(array: np.ndarray) -> Any:
    return lambda: array


def in_default(array: np.ndarray) -> Any:
    def get(value: np.ndarray = array) -> np.ndarray:
        return value

    return get


@pytest.mark.needs("proc")
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_memmap_is_the_file_wherever_it_stands(path: Path, mode: Any) -> None:
    mapped = np.memmap(str(path), np.int64, mode)
    value = {"list": [mapped], "view": mapped[::-3], "closure": in_closure(mapped), "default": in_default(mapped)}
    again = travelled(value, segment=0)
    for array in (again["list"][0], again["closure"](), again["default"]()):
        assert type(array) is np.memmap
        assert (array.filename, array.mode, array.flags.writeable) == (str(path), mode, mode != "r")
        assert np.array_equal(array, BIG)
    assert np.array_equal(again["view"], BIG[::-3])


@pytest.mark.needs("proc")
def test_a_file_that_main_writes_to_is_the_same_in_the_worker_and_a_private_change_travels(path: Path) -> None:
    shared = np.memmap(path, np.int64, "r+")
    again = travelled(shared, segment=0)
    shared[3] = -1
    assert again[3] == -1
    again[4] = -2
    assert shared[4] == -2
    private = np.memmap(path, np.int64, "c")
    private[5] = -3
    assert travelled(private, segment=1_600_000)[5] == -3


@pytest.mark.needs("proc")
def test_a_subclass_of_memmap_and_a_mapping_itself_are_the_file_too(path: Path) -> None:
    class Tokens(np.memmap):
        pass

    tokens = Tokens(path, np.int64, "r")
    tokens.vocabulary = 7  # type: ignore[attr-defined]
    again = travelled(tokens, segment=0)
    assert (again.vocabulary, int(again[-1])) == (7, len(BIG) - 1)
    with path.open() as file:
        mapped = mmap.mmap(file.fileno(), 8192, access=mmap.ACCESS_READ, offset=mmap.ALLOCATIONGRANULARITY)
    mapped.seek(16)
    assert travelled(mapped, segment=0).read() == mapped.read()


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_read_the_file_that_main_has_mapped_although_it_was_replaced(path: Path, workers: int) -> None:
    class Tokens(Holder):
        def __getitem__(self, number: int) -> dict[str, Any]:
            return {"x": self.value[number : number + 3]}

    source = Tokens(np.memmap(path, np.int64, "r"))
    np.zeros_like(BIG).tofile(path.with_name("new"))
    path.with_name("new").replace(path)
    with Pipeline(source=source, batch_size=10, num_workers=workers, output="numpy") as pipeline:
        [batch] = pipeline
    assert batch["x"].tolist() == [[n, n + 1, n + 2] for n in range(10)]


# --- other libraries


def test_tensors_and_modules_travel_out_of_band() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.arange(200_000)
    for value in (tensor, tensor.to(torch.bfloat16), tensor.reshape(400, 500).T, tensor[5:].expand(1000, -1)):
        again = travelled(value, segment=1_600_000)
        assert torch.equal(again, value)
        assert (again.dtype, again.stride()) == (value.dtype, value.stride())
    assert torch.equal(travelled(tensor[::1000], segment=1_600), tensor[::1000])
    layer = torch.nn.Linear(500, 400)
    again = travelled(layer, segment=802_000)
    assert torch.equal(again.weight, layer.weight)
    assert again.weight.requires_grad and isinstance(again.weight, torch.nn.Parameter)
    rows = travelled(list(torch.zeros(20, 1000)), segment=80_000)  # torch pickles the whole storage with every row
    assert len(rows) == 20


@pytest.mark.needs("proc")
def test_a_library_that_makes_them_again_counts_as_needed() -> None:
    torch = pytest.importorskip("torch")
    assert "torch" in shipped(torch.arange(200_000)).need.modules
    assert "torch" not in shipped(BIG).need.modules


@pytest.mark.needs("proc")
def test_a_tensor_over_a_mapped_file_is_the_file(path: Path) -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.from_file(str(path), shared=True, size=len(BIG), dtype=torch.int64)
    again = travelled(tensor[10:], segment=0)
    tensor[10] = -1
    assert again[:3].tolist() == [-1, 11, 12]
    read_only = torch.from_file(str(path), shared=False, size=len(BIG), dtype=torch.int64)
    assert travelled(read_only, segment=0)[11] == 11


@pytest.mark.needs("proc")
def test_arrow_and_the_frames_over_it_travel_out_of_band(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"x": BIG, "text": [f"text {n}" for n in BIG.tolist()]})
    size = table.nbytes
    assert travelled(table, segment=size).equals(table)
    with pa.OSFile(str(tmp_path / "table"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.memory_map(str(tmp_path / "table")) as mapped:
        again = travelled(pa.ipc.open_file(mapped).read_all(), segment=0)
    assert again.equals(table)
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": BIG, "y": BIG * 0.5, "z": BIG})
    assert travelled(frame, segment=3 * BIG.nbytes).equals(frame)


def test_polars_frames_and_series_travel_out_of_band() -> None:
    polars = pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    frame = polars.DataFrame({"x": BIG, "text": [f"a longer text {n}" for n in BIG.tolist()], "even": BIG % 2 == 0})
    assert travelled(frame, segment=2 * frame.estimated_size()).equals(frame)
    again = travelled(frame["text"], segment=2 * frame.estimated_size())
    assert again.name == "text" and again.equals(frame["text"])


def test_a_library_that_is_not_imported_is_not_imported_for_this(run_script: Callable[..., Any]) -> None:
    run_script(
        "import sys\nimport numpy as np\nfrom datarax_mp import Pipeline\n"
        "class Source(list): pass\n"
        "source = Source(range(4)); source.array = np.zeros(100000)\n"
        "pipeline = Pipeline(source=source, batch_size=4, num_workers=1, output='numpy', enforce_batch=False)\n"
        "assert len(list(pipeline)) == 4\n"
        "assert not {'torch', 'pyarrow', 'polars', 'pandas'} & set(sys.modules)\n"
    )
    assert sys.modules


def test_what_is_copied_on_the_way_lives_until_it_has_arrived() -> None:
    views = [np.arange(n, n + 200_000)[::2] for n in range(20)]  # each is made contiguous in passing
    for view, again in zip(views, load(shipped(views)), strict=True):
        assert np.array_equal(view, again)


def test_jax_arrays_travel_out_of_band() -> None:
    jnp = pytest.importorskip("jax.numpy")
    array = jnp.arange(200_000, dtype=jnp.float32)
    again = travelled(array, segment=800_000)
    assert type(again) is type(array) and bool((again == array).all())
