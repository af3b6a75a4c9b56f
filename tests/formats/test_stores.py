"""Rows of HDF5 files and Zarr stores: by number, over files and blocks, and what can be wrong with them."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from datarax_mp import HDF5Source, Pad, Pipeline, ShuffleWindow, ZarrSource
from datarax_mp.formats.row_ranges import RowRanges
from datarax_mp.testing import assert_same_stream, check_resume, check_source

LENGTH = 57


def columns(first: int, last: int) -> dict[str, np.ndarray]:
    n = np.arange(first, last)
    return {"n": n, "image": np.repeat(n, 12).reshape(-1, 3, 4).astype(np.uint8), "deep/x": (n / 2).astype(np.float32)}


def write_hdf5(path: Path, first: int, last: int, **chunks: Any) -> None:
    with h5py.File(path, "w") as file:
        for name, array in columns(first, last).items():
            file.create_dataset(name, data=array, **chunks)


def hdf5(folder: Path) -> Path:
    write_hdf5(folder / "a.h5", 0, 20)
    write_hdf5(folder / "b.hdf5", 20, 20)
    write_hdf5(folder / "c.h5", 20, LENGTH, chunks=True, compression="gzip")
    return folder


def write_zarr(folder: Path, form: int, **how: Any) -> Path:
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=form)
    for place, (name, array) in enumerate(columns(0, LENGTH).items()):
        chunks = (5 + 5 * place, *array.shape[1:])
        group.create_array(name, data=array, chunks=chunks, **how)
    return folder / "a.zarr"


MAKE: dict[str, Callable[[Path], Any]] = {
    "hdf5": lambda folder: lambda **more: HDF5Source(hdf5(folder), **more),
    "zarr 2": lambda folder: lambda **more: ZarrSource(write_zarr(folder, 2), **more),
    "zarr 3": lambda folder: lambda **more: ZarrSource(write_zarr(folder, 3), **more),
}
kinds = pytest.mark.parametrize("kind", MAKE)


@kinds
@pytest.mark.parametrize("block_bytes", [1, 400, 1 << 20])
def test_every_row_is_there_under_its_number(kind: str, block_bytes: int, tmp_path: Path) -> None:
    source = MAKE[kind](tmp_path)(block_bytes=block_bytes)
    assert len(source) == sum(source.blocks) == LENGTH
    for n in (0, 19, 20, 33, 56, -1):
        found, at = source[n], n % LENGTH
        assert (found["n"], found["deep"]["x"]) == (at, at / 2)
        assert (found["image"] == at).all()
        assert (found["image"].shape, found["image"].dtype, found["deep"]["x"].dtype) == ((3, 4), np.uint8, np.float32)
    check_source(source)


@kinds
@pytest.mark.parametrize("how", [{"num_workers": 2}, {"num_workers": 3, "workers": "threads"}])
def test_the_stream_is_the_same_whoever_works(kind: str, how: dict[str, Any], tmp_path: Path) -> None:
    usual: dict[str, Any] = {"batch_size": 10, "seed": 3, "output": "numpy", "shuffle": ShuffleWindow(blocks=2)}
    source = MAKE[kind](tmp_path)(block_bytes=1)
    with Pipeline(source=source, **usual) as expected, Pipeline(source=source, **usual, **how) as found:
        assert_same_stream(expected, found, epochs=2)
        check_resume(found, steps=3)


@kinds
def test_a_pickle_has_names_and_numbers_and_no_data(kind: str, tmp_path: Path) -> None:
    source = MAKE[kind](tmp_path)()
    before = pickle.dumps(source)
    assert source[40]["n"] == 40
    assert pickle.dumps(source) == before
    assert len(before) < 3000
    assert pickle.loads(before)[56]["n"] == 56


def test_some_arrays_may_be_chosen_and_must_be_there(tmp_path: Path) -> None:
    assert list(HDF5Source(hdf5(tmp_path), datasets=["deep/x"])[3]) == ["deep"]
    path = write_zarr(tmp_path, 3)
    assert list(ZarrSource(path, arrays=["n"])[3]) == ["n"]
    with pytest.raises(ValueError, match=r"a\.h5: there is no array 'y'; there are deep/x, image, n"):
        HDF5Source(tmp_path, datasets=["y"])
    with pytest.raises(ValueError, match=r"a\.zarr: there is no array 'y'; there are deep/x, image, n"):
        ZarrSource(path, arrays=["y"])
    with pytest.raises(TypeError, match=r"one column is \['n'\]"):
        ZarrSource(path, arrays="n")


def test_shards_are_read_whole(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("n", data=np.arange(100), chunks=(5,), shards=(20,))
    source = ZarrSource(tmp_path / "a.zarr", block_bytes=1)
    assert list(source.blocks) == [20] * 5
    assert source[63]["n"] == 63


def test_a_store_may_be_one_array(tmp_path: Path) -> None:
    zarr.save_array(str(tmp_path / "a.zarr"), np.arange(10).reshape(5, 2))
    assert ZarrSource(tmp_path / "a.zarr")[4]["value"].tolist() == [8, 9]


def test_text_and_lists_of_unequal_length_are_what_they_are(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["text"] = ["one", "zwei", "trois"]
        lists = file.create_dataset("tokens", (3,), h5py.vlen_dtype(np.int32))
        for row in range(3):
            lists[row] = np.arange(row + 1)
    source = HDF5Source(tmp_path)
    assert source[1]["text"] == "zwei"
    with Pipeline(source=source, batch_size=3, stages=[Pad("tokens", 4)], num_workers=1, output="numpy") as pipeline:
        batch = next(iter(pipeline))
    assert batch["tokens"].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 2, 0]]
    assert batch.info["text"] == ["one", "zwei", "trois"]


def test_what_cannot_be_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.h5: expected an HDF5 file, found an empty one"):
        HDF5Source(path)
    path.write_bytes(b"x" * 5000)
    with pytest.raises(ValueError, match=r"a\.h5: expected an HDF5 file, found something else"):
        HDF5Source(path)
    write_hdf5(path, 0, 50)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"a\.h5: expected an HDF5 file, found something else or a damaged one"):
        HDF5Source(path)
    with h5py.File(path, "w") as file:
        file["x"], file["y"] = np.arange(3), np.arange(4)
    with pytest.raises(ValueError, match=r"a\.h5: arrays must have equally many rows, found .*'x': 3, 'y': 4"):
        HDF5Source(path)
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(3, [("a", int), ("b", float)])
    with pytest.raises(ValueError, match=r"a\.h5, data set 'x': it is of a compound type"):
        HDF5Source(path)
    write_hdf5(path, 0, 5)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["n"] = np.arange(3)
    with pytest.raises(ValueError, match=r"files differ in array 'deep/x': float32 \(\) in .*a\.h5, none in .*b\.h5"):
        HDF5Source(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a Zarr store, found nothing there"):
        ZarrSource(tmp_path / "none.zarr")
    (tmp_path / "no.zarr").mkdir()
    with pytest.raises(ValueError, match=r"no\.zarr: expected a Zarr store, found something else"):
        ZarrSource(tmp_path / "no.zarr")


def test_a_chunk_that_is_damaged_names_store_and_rows(tmp_path: Path) -> None:
    path = write_zarr(tmp_path, 3)
    source = ZarrSource(path, arrays=["n"], block_bytes=1)
    chunk = next(file for file in sorted((path / "n" / "c").iterdir()) if file.name == "2")
    chunk.write_bytes(b"\0" * 7)
    assert source[4]["n"] == 4
    with pytest.raises(OSError, match=r"a\.zarr, rows 10 to 15: it cannot be read"):
        source[11]
    with Pipeline(source=source, batch_size=60, on_error="skip", output="numpy") as pipeline:
        assert next(iter(pipeline))["n"].tolist() == [n for n in range(LENGTH) if not 10 <= n < 15]


@pytest.mark.parametrize("library", ["h5py", "zarr"])
def test_without_the_library_the_extra_is_named(library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, other = hdf5(tmp_path) / "a.h5", write_zarr(tmp_path, 3)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=r"datarax-mp\[(hdf5|zarr)\]"):
        HDF5Source(path) if library == "h5py" else ZarrSource(other)
    assert os.path.exists(path)


def test_an_hdf5_file_that_was_replaced_while_a_reader_has_it_open_is_noticed(tmp_path: Path) -> None:
    write_hdf5(tmp_path / "a.h5", 0, 20)
    source = HDF5Source(tmp_path, block_bytes=1)
    assert source[0]["n"] == 0
    before = os.stat(tmp_path / "a.h5").st_mtime_ns
    write_hdf5(tmp_path / "new", 100, 120)
    os.replace(tmp_path / "new", tmp_path / "a.h5")
    os.utime(tmp_path / "a.h5", ns=(before, before + 1))
    with pytest.raises(OSError, match=r"a\.h5: expected the file of .* Make the source anew"):
        source[1]
    assert HDF5Source(tmp_path)[0]["n"] == 100


@pytest.mark.parametrize("form", [2, 3])
@pytest.mark.parametrize("packed", [False, True], ids=["a folder", "a zip file"])
def test_a_zarr_store_that_was_made_anew_while_a_reader_has_it_open_is_noticed(
    form: int, packed: bool, tmp_path: Path
) -> None:
    path = write_zarr(tmp_path, form)
    if packed:
        path = Path(shutil.make_archive(str(tmp_path / "a"), "zip", path))
    source = ZarrSource(path, arrays=["n"], block_bytes=1)
    assert source[0]["n"] == 0
    changed = path if packed else path / "n" / (".zarray" if form == 2 else "zarr.json")
    before = os.stat(changed).st_mtime_ns
    os.utime(changed, ns=(before, before + 1))  # as who writes the same again does
    with pytest.raises(OSError, match=rf"{changed.name}: expected the file of .* Make the source anew"):
        source[6]
    assert ZarrSource(path)[0]["n"] == 0


class Fails(RowRanges):
    """Of what the reading of an array raises whatever is given."""

    def __init__(self, fail: Callable[[], None]) -> None:
        super().__init__(["a.rows"], [{}], lengths=[3], rows=3, cache_bytes=0)
        self.fail = fail

    def open(self, path: str) -> dict[str, Any]:
        return {"n": np.arange(3)}

    def read(self, array: Any, rows: slice) -> Any:
        self.fail()


def test_what_a_signal_handler_raises_while_rows_are_read_is_not_taken_for_the_file_s() -> None:
    def time_is_over(*_: Any) -> None:
        raise KeyError("time is over")

    before = signal.signal(signal.SIGUSR1, time_is_over)
    try:
        with pytest.raises(KeyError, match="time is over"):
            Fails(lambda: signal.raise_signal(signal.SIGUSR1))[0]
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("error", [ImportError("no h5py"), MemoryError("no memory"), KeyError("no codec")], ids=repr)
def test_only_what_may_be_wrong_with_a_file_is_said_of_it(error: Exception) -> None:
    def fail() -> None:
        raise error

    told, words = (OSError, r"a\.rows, rows 0 to 3: .*no codec") if type(error) is KeyError else (type(error), "^no ")
    with pytest.raises(told, match=words):
        Fails(fail)[0]


def test_a_data_set_is_there_under_each_of_its_names_and_groups_may_lie_in_themselves(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/n"] = np.arange(3)
        file["soft"] = h5py.SoftLink("/deep/n")
        file["hard"] = file["deep/n"]
        file["deep/self"], file["deep/root"] = h5py.SoftLink("/deep"), h5py.SoftLink("/")
        file["group"] = h5py.SoftLink("/deep")
    expected = {"deep": {"n": 2}, "group": {"n": 2}, "hard": 2, "soft": 2}
    assert HDF5Source(tmp_path)[2] == expected
    assert HDF5Source(tmp_path, datasets=["soft"])[2] == {"soft": 2}


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (h5py.ExternalLink("b.hdf5", "/n"), r"a link to /n in b\.hdf5"),
        (h5py.ExternalLink("none.hdf5", "/n"), r"a link to /n in none\.hdf5"),
        (h5py.SoftLink("/none"), "a link to /none, where nothing is"),
    ],
    ids=["out of the file", "to no file", "to nothing"],
)
def test_a_link_that_is_not_followed_is_said_and_can_be_left_out(link: Any, words: str, tmp_path: Path) -> None:
    for name in ("a.h5", "b.hdf5"):
        write_hdf5(tmp_path / name, 0, 5)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["deep/other"] = link
    for more in ({}, {"datasets": ["n", "deep/other"]}):
        with pytest.raises(ValueError, match=rf"a\.h5: 'deep/other' is {words}.*datasets="):
            HDF5Source(tmp_path / "a.h5", **more)
    assert HDF5Source(tmp_path / "a.h5", datasets=["n"])[4] == {"n": 4}
