"""Arrays out of .npy and .npz files: looked at where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datarax_mp import NpySource, Pipeline
from datarax_mp.testing import assert_same_stream, check_source

COLUMNS = {"image": np.arange(40 * 12, dtype=np.uint8).reshape(40, 3, 4), "label": np.arange(40)}


@pytest.fixture(params=["npy", "npz", "compressed"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    file = tmp_path / f"data.{'npy' if request.param == 'npy' else 'npz'}"
    if request.param == "npy":
        np.save(file, COLUMNS["image"])
    else:
        (np.savez if request.param == "npz" else np.savez_compressed)(file, **COLUMNS)  # type: ignore[operator]
    return file


def test_the_stream_is_that_of_the_arrays(path: Path) -> None:
    columns: Any = {"value": COLUMNS["image"]} if path.suffix == ".npy" else COLUMNS
    source = NpySource(path)
    check_source(source)
    how: dict[str, Any] = {"batch_size": 7, "shuffle": True, "seed": 1, "output": "numpy"}
    with Pipeline(source=columns, **how) as plain, Pipeline(source=source, num_workers=2, **how) as mapped:
        assert_same_stream(plain, mapped)


def test_what_is_stored_as_it_is_is_mapped_and_not_read(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    np.savez(file, x=np.arange(1000, dtype=np.int64), y=np.asfortranarray(np.ones((1000, 3))))
    source = NpySource(file, shuffle=True)
    assert source[1]["x"] == 1
    raw = bytearray(file.read_bytes())
    at = raw.index(np.arange(1000, dtype=np.int64).tobytes())
    raw[at + 8 : at + 16] = np.int64(77).tobytes()
    with file.open("r+b") as changed:  # the same file: what is mapped shows it
        changed.write(raw)
    assert source[1]["x"] == 77
    assert source[5]["y"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda file: file.write_bytes(b"no array at all"), "cannot be read as an array"),
        (lambda file: file.write_bytes(b""), "cannot be read as an array"),
        (lambda file: np.save(file, np.array([{}], object)), "cannot be read as an array"),
    ],
)
def test_what_is_no_array_is_an_error_that_names_the_file(tmp_path: Path, write: Any, message: str) -> None:
    file = tmp_path / "data.npy"
    write(file)
    with pytest.raises(ValueError, match=rf"data\.npy: .*{message.split(': ')[-1]}"):
        NpySource(file)


def test_objects_in_an_archive_and_several_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.array([{}], object))
    with pytest.raises(ValueError, match=r"array 'x': .*Python objects"):
        NpySource(tmp_path / "data.npz")
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.ones(3))
    with pytest.raises(ValueError, match="found 2, .*ConcatSource"):
        NpySource(tmp_path)
