"""What of a folder is served, what is passed over, and who is told."""

from __future__ import annotations

import logging
import os
import pickle
import re
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datarax_mp import ImageError, ImageFolderSource, Pipeline
from datarax_mp.sources import images as images_module
from datarax_mp.sources.by_pillow import readable_formats
from datarax_mp.sources.listing import SUFFIXES, PackedPaths

COLOURS = {"a.png": (255, 0, 0), "b.png": (0, 255, 0)}


def save(path: Path, colour: tuple[int, int, int] = (9, 9, 9)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), colour).save(path, "PNG")


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        save(tmp_path / "flat" / name, colour)
    return tmp_path / "flat"


def names(source: ImageFolderSource) -> list[str]:
    return [os.path.relpath(source[i]["path"], source.root) for i in range(len(source))]


# --- what is an image


@pytest.mark.parametrize(
    "suffix",
    [*([".jfif", ".jpe", ".mpo", ".apng", ".pnm", ".pbm", ".tga", ".jp2", ".avif"]), *map(os.fsdecode, SUFFIXES)],
)
def test_all_suffixes_are_found_in_small_and_large_letters(tmp_path: Path, suffix: str) -> None:
    kinds = {".tga": "TGA", ".jp2": "JPEG2000", ".avif": "AVIF", ".pbm": "PPM", ".pnm": "PPM", ".jfif": "JPEG"}
    if kinds.get(suffix) == "AVIF" and "AVIF" not in readable_formats():
        pytest.skip("needs a Pillow that reads AVIF")
    for name in (f"one{suffix}", f"two{suffix.upper()}"):
        Image.new("RGB", (6, 4), (9, 9, 9)).save(tmp_path / name, kinds.get(suffix, "PNG"))
    source = ImageFolderSource(tmp_path)
    assert names(source) == [f"one{suffix}", f"two{suffix.upper()}"]
    assert all(source[i]["image"].shape == (4, 6, 3) for i in range(2)) and source.passed_over == 0


def test_files_that_this_pillow_does_not_read_are_an_error_when_the_source_is_made(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (flat / "c.AVIF").write_bytes(b"")

    def none(kind: str) -> None:
        raise ImportError(f"no {kind}")

    monkeypatch.setattr(images_module, "require_format", none)
    with pytest.raises(ImportError, match="no AVIF"):
        ImageFolderSource(flat)
    assert len(ImageFolderSource(flat, ["a.png"])) == 1


def test_a_suffix_is_looked_for_at_the_end_and_nowhere_else() -> None:
    paths = PackedPaths.of([(b"x.jp2", [b"a.png", b".jp", b"2"]), (b"", [b"b"])])
    assert not paths.any_ends_with(b".jp2")
    assert PackedPaths.of([(b"", [b"a.Jp2", b"b"])]).any_ends_with(b".jp2")
    assert not PackedPaths.of([]).any_ends_with(b".jp2")


def test_paths_are_looked_at_where_they_have_travelled_to() -> None:
    paths, buffers = PackedPaths.of([(b"folder/", [b"a.png", b"b.png"])]), list[pickle.PickleBuffer]()
    again = pickle.loads(pickle.dumps(paths, 5, buffer_callback=buffers.append), buffers=buffers)
    assert np.shares_memory(again.data, paths.data)
    assert again[1] == b"folder/b.png"


# --- what is passed over


def test_how_many_files_were_passed_over_is_in_the_repr_and_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cat/1.png", "dog/1.png", "dog/deep/2.png"):
        save(tmp_path / name)
    for name in ("README.md", "cat/1.txt", "dog/1.txt", "dog/deep/notes", "dog/.DS_Store"):
        (tmp_path / name).write_bytes(b"")
    with caplog.at_level(logging.INFO, "datarax_mp"):
        source = ImageFolderSource(tmp_path)
    assert len(source) == 3 and source.passed_over == 5
    assert repr(source).endswith("3 images of 2 classes, 5 files passed over)")
    [record] = caplog.records
    assert record.levelno == logging.INFO
    told = record.getMessage()
    assert "5 files passed over: 2 .txt" in told
    assert "1 .md" in told and "1 without a suffix" in told and "1 with a dot in front" in told


def test_nothing_is_said_where_nothing_was_passed_over(flat: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "datarax_mp"):
        assert "passed over" not in repr(ImageFolderSource(flat))
    assert not caplog.records


@pytest.mark.parametrize("name", ["c.HEIC", "c.jxl", "c.dcm", "c.nef"])
def test_images_in_formats_that_are_not_read_are_worth_a_warning(
    flat: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    (flat / name).write_bytes(b"")
    assert repr(ImageFolderSource(flat)).endswith("2 images, 1 file passed over)")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert re.search(rf"1 file passed over: 1 {name[1:].lower()}\. .*convert them", record.getMessage())


def test_suffixes_without_end_are_counted_in_little_memory(flat: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(300):
        (flat / f"image.{number:05}").write_bytes(b"")
    with caplog.at_level(logging.INFO, "datarax_mp"):
        assert ImageFolderSource(flat).passed_over == 300
    assert len(caplog.text) < 500 and "200 of other kinds" in caplog.text


def test_if_nothing_is_left_the_error_says_how_many_were_passed_over(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.heic").write_bytes(b"")
    with pytest.raises(ValueError, match="known suffix, and 3 others"):
        ImageFolderSource(tmp_path)


# --- what is no regular file


def test_a_named_pipe_and_a_socket_are_passed_over_and_block_nobody(flat: Path) -> None:
    os.mkfifo(flat / "c.png")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(flat / "d.png"))  # a socket's path may have 107 bytes
        source = ImageFolderSource(flat)
    assert names(source) == ["a.png", "b.png"] and source.passed_over == 2


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_named_pipe_in_a_list_of_files_is_an_error_that_names_it(flat: Path, num_workers: int) -> None:
    os.mkfifo(flat / "c.png")
    source = ImageFolderSource(flat, ["a.png", "c.png"])
    with (
        Pipeline(source=source, batch_size=2, num_workers=num_workers, output="numpy") as pipeline,
        pytest.raises(ImageError, match="c.png: expected a regular file, found a named pipe"),
    ):
        list(pipeline)
    with pytest.raises(IsADirectoryError):
        ImageFolderSource(flat, ["."])[0]


# --- links


def test_a_link_to_a_folder_around_it_is_not_followed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = tmp_path / "root"
    save(root / "cat" / "deep" / "1.png")
    save(root / "dog" / "1.png")
    (root / "cat" / "deep" / "up").symlink_to(root / "cat")
    (root / "dog" / "here").symlink_to(".")
    (root / "all").symlink_to(root)
    source = ImageFolderSource(root)
    assert source.classes == ("cat", "dog") and names(source) == ["cat/deep/1.png", "dog/1.png"]
    assert "links to a folder that they lie in are not followed: 'all', 'cat/deep/up', 'dog/here'" in caplog.text


def test_links_that_lead_to_each_other_come_to_an_end(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "1.png")
    save(tmp_path / "dog" / "2.png")
    (tmp_path / "cat" / "x").symlink_to(tmp_path / "dog")
    (tmp_path / "dog" / "y").symlink_to(tmp_path / "cat")
    assert names(ImageFolderSource(tmp_path)) == ["cat/1.png", "cat/x/2.png", "dog/2.png", "dog/y/1.png"]


def test_two_links_to_one_folder_serve_it_twice(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "root").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "elsewhere")
    assert names(ImageFolderSource(tmp_path / "root")) == ["cat/1.png", "dog/1.png"]


def test_a_link_to_nothing_or_to_itself_is_listed_and_an_error_when_it_is_read(flat: Path) -> None:
    (flat / "c.png").symlink_to(flat / "absent")
    (flat / "d.png").symlink_to("d.png")
    (flat / "loose").symlink_to(flat / "absent")
    source = ImageFolderSource(flat)
    assert len(source) == 4 and source.passed_over == 1
    with pytest.raises(FileNotFoundError, match="c.png"):
        source[2]
    with pytest.raises(OSError, match="d.png"):
        source[3]


# --- home


def test_a_tilde_is_the_home_folder_in_the_root_and_in_files(flat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(flat.parent))
    source = ImageFolderSource("~/flat")
    assert source.root == str(flat) and len(source) == 2
    assert ImageFolderSource(Path("~/flat")).root == ImageFolderSource(b"~/flat").root == str(flat)
    listed = ImageFolderSource("/", ["~/flat/b.png", b"~/flat/a.png"])
    assert [listed[i]["path"] for i in range(2)] == [str(flat / "b.png"), str(flat / "a.png")]
    save(flat / "~c.png", (0, 0, 7))
    assert np.array_equal(ImageFolderSource(flat, ["~c.png"])[0]["image"][0, 0], [0, 0, 7])
