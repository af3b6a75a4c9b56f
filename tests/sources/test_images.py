from __future__ import annotations

import gc
import logging
import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

import datarax_mp
from datarax_mp import ImageError, ImageFolderSource, Pipeline
from tests.images import difference, encoded, jpeg, photo


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two classes, one of them with a folder below."""
    root = tmp_path / "tree"
    for place, name in enumerate(("dog/b.jpg", "dog/a.JPEG", "cat/z.png", "cat/deep/a.png", "cat/deep-er/c.bmp")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".jpg": "JPEG", ".png": "PNG", ".bmp": "BMP"}.get(path.suffix, "JPEG")
        path.write_bytes(encoded(np.full((8, 10, 3), place * 20, np.uint8), kind))
    return root


def names(source: ImageFolderSource) -> list[str]:
    return [os.path.relpath(source[i]["path"], source.root) for i in range(len(source))]


# --- what is served


def test_first_level_folders_are_the_classes_and_all_below_belongs_to_them(tree: Path) -> None:
    source = ImageFolderSource(tree)
    assert source.classes == ("cat", "dog")
    assert names(source) == ["cat/z.png", "cat/deep/a.png", "cat/deep-er/c.bmp", "dog/a.JPEG", "dog/b.jpg"]
    assert [int(source[i]["label"]) for i in range(5)] == [0, 0, 0, 1, 1]
    record = source[0]
    assert list(record) == ["image", "label", "path"]
    assert record["image"].dtype == np.uint8 and record["image"].shape == (8, 10, 3)
    assert type(record["label"]) is np.int64
    assert record["path"] == str(tree / "cat" / "z.png")


def test_a_flat_folder_has_labels_only_if_they_are_given(tree: Path) -> None:
    source = ImageFolderSource(tree / "dog")
    assert names(source) == ["a.JPEG", "b.jpg"]
    assert source.classes == ()
    assert list(source[0]) == ["image", "path"]
    labelled = ImageFolderSource(tree / "dog", labels=np.array([7, 3], np.uint8))
    assert [labelled[i]["label"] for i in range(2)] == [7, 3]
    assert type(labelled[0]["label"]) is np.int64


def test_a_list_of_files_keeps_its_order_and_repetitions(tree: Path) -> None:
    files = ["dog/b.jpg", tree / "cat" / "z.png", b"dog/b.jpg"]
    source = ImageFolderSource(tree, files, [2, 1, 0])
    assert names(source) == ["dog/b.jpg", "cat/z.png", "dog/b.jpg"]
    assert [int(source[i]["label"]) for i in range(3)] == [2, 1, 0]


def test_negative_numbers_count_from_the_end(tree: Path) -> None:
    source = ImageFolderSource(tree)
    assert source[-1]["path"] == source[np.int64(4)]["path"]
    for outside in (5, -6):
        with pytest.raises(IndexError, match=f"image {outside} .* 5 images"):
            source[outside]
    with pytest.raises(TypeError):
        source["0"]  # type: ignore[index]


def test_names_with_a_dot_in_front_and_files_of_other_kinds_are_passed_over(tree: Path) -> None:
    (tree / ".cache").mkdir()
    (tree / ".cache" / "a.png").write_bytes(b"")
    (tree / "dog" / "._b.jpg").write_bytes(b"")
    (tree / "dog" / "notes.txt").write_bytes(b"")
    (tree / "README.md").write_bytes(b"")
    assert len(ImageFolderSource(tree)) == 5
    assert ImageFolderSource(tree).classes == ("cat", "dog")


def test_links_are_followed_and_names_need_not_be_utf8(tree: Path, tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path / "odd")
    os.mkdir(odd)
    with open(os.path.join(odd, b"\xff\xfe.png"), "wb") as file:
        file.write(encoded(photo(), "PNG"))
    os.symlink(odd, tree / "linked")
    source = ImageFolderSource(tree)
    assert source.classes == ("cat", "dog", "linked")
    record = source[-1]
    assert os.fsencode(record["path"]).endswith(b"linked/\xff\xfe.png")
    assert np.array_equal(record["image"], photo())


def test_a_source_keeps_its_folder_when_the_working_directory_changes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    source = ImageFolderSource("dog")
    monkeypatch.chdir(tmp_path)
    assert source[0]["path"] == str(tree / "dog" / "a.JPEG")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"root": "absent"}, FileNotFoundError, "absent, found nothing"),
        ({"root": "tree/dog/b.jpg"}, NotADirectoryError, "b.jpg, found a file"),
        ({"root": "empty"}, ValueError, "at least one image, found no file in .*empty"),
        ({"root": "hollow"}, ValueError, "at least one image"),
        ({"root": "tree", "files": []}, ValueError, "empty list"),
        ({"root": "tree", "files": "dog/b.jpg"}, TypeError, "not one str"),
        ({"root": "tree/dog", "labels": [1]}, ValueError, r"2 images, found labels of shape \(1,\)"),
        ({"root": "tree/dog", "labels": [1.0, 2.0]}, TypeError, "float64"),
        ({"root": "tree/dog", "labels": ["a", "b"]}, TypeError, "must be integers"),
        ({"root": "tree", "labels": [0] * 5}, ValueError, "'cat'.*labels given as an argument"),
        ({"root": "mixed"}, ValueError, r"'sub'.*images beside them \('a.png'\).*files="),
        ({"root": "gap"}, ValueError, r"none in 1: \['b'\]"),
        ({"root": "tree", "min_size": 0}, ValueError, "min_size.*got 0"),
        ({"root": "tree", "mode": "BGR"}, ValueError, r"\('RGB', 'L', 'RGBA', 'I;16'\), got 'BGR'"),
    ],
)
def test_what_cannot_be_served_is_an_error_when_the_source_is_made(
    tree: Path, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    for name in ("empty", "hollow/a", "mixed/sub", "gap/a", "gap/b"):
        (tree.parent / name).mkdir(parents=True)
    for name in ("mixed/a.png", "mixed/sub/b.png", "gap/a/a.png"):
        (tree.parent / name).write_bytes(b"")
    with pytest.raises(error, match=message):
        ImageFolderSource(**{**options, "root": tree.parent / options["root"]})


def test_a_missing_decoder_is_an_import_error_that_names_the_extra(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("simplejpeg", "PIL"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=r'pip install "datarax-mp\[images\]"') as caught:
                ImageFolderSource(tree)
            assert caught.value.name == module


def test_importing_and_listing_import_no_decoder(tree: Path, run_script: Any) -> None:
    run_script(
        "import sys, datarax_mp.sources\n"
        f"datarax_mp.ImageFolderSource({str(tree)!r})\n"
        "assert not {'PIL', 'simplejpeg', 'jax'} & set(sys.modules)\n"
    )
    assert {"ImageError", "ImageFolderSource"} <= set(datarax_mp.__all__)


# --- memory


def test_paths_travel_as_two_buffers_and_no_list(tmp_path: Path) -> None:
    for place in range(300):
        (tmp_path / f"photo-{place:04}.jpg").write_bytes(b"")
    source = ImageFolderSource(tmp_path, labels=range(300))
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(source, 5, buffer_callback=buffers.append)
    assert b"photo-" not in pickled and len(pickled) < 1000
    assert sorted(buffer.raw().nbytes for buffer in buffers) == [300 * 8, 301 * 8, 300 * len("photo-0000.jpg")]
    again = pickle.loads(pickled, buffers=buffers)
    with pytest.raises(ImageError, match=r"photo-0299\.jpg"):  # it is empty
        again[299]


def test_no_descriptor_stays_open(tree: Path) -> None:
    (tree / "dog" / "b.jpg").write_bytes(b"no image")
    source = ImageFolderSource(tree)
    gc.collect()  # what earlier tests have left
    before = psutil.Process().num_fds()
    for number in range(len(source)):
        try:
            source[number]
        except ImageError:
            pass
    assert psutil.Process().num_fds() == before


# --- reading


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(encoded(photo(), "PNG"))
    (tmp_path / "b.png").write_bytes(jpeg())
    source = ImageFolderSource(tmp_path)
    assert np.array_equal(source[0]["image"], photo())
    assert difference(source[1]["image"], photo()) < 16


def test_min_size_leaves_other_formats_whole(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encoded(photo(), "PNG"))
    (tmp_path / "b.jpg").write_bytes(jpeg())
    source = ImageFolderSource(tmp_path, min_size=10)
    assert [source[i]["image"].shape for i in range(2)] == [(40, 60, 3), (10, 15, 3)]


def test_the_error_names_the_file_and_pickles(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(encoded(photo(), "PNG")[:100])
    with pytest.raises(ImageError, match="bad.png: ") as caught:
        ImageFolderSource(tmp_path)[0]
    error = caught.value
    error.add_note("where")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ImageError and isinstance(again, ValueError)
    assert (str(again), again.path, again.reason) == (str(error), str(tmp_path / "bad.png"), error.reason)
    assert again.__notes__ == ["where"]


def test_a_file_that_has_gone_is_the_systems_error(tree: Path) -> None:
    source = ImageFolderSource(tree, ["absent.png"])
    with pytest.raises(FileNotFoundError, match="absent.png"):
        source[0]


# --- in a pipeline


def crop(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "image": record["image"][:8, :10]}


def test_workers_give_the_same_images_as_the_calling_process(tree: Path) -> None:
    (tree / "cat" / "large.jpg").write_bytes(jpeg())
    source = ImageFolderSource(tree, min_size=8)
    batches = {}
    for num_workers in (0, 2):
        with Pipeline(source=source, stages=[crop], batch_size=4, num_workers=num_workers, output="numpy") as pipeline:
            batches[num_workers] = [
                (np.array(batch["image"]), np.array(batch["label"]), [m.source_info for m in batch.metadata])
                for batch in pipeline
            ]
    images, labels, info = map(list, zip(*batches[2], strict=True))
    assert [array.shape for array in images] == [(4, 8, 10, 3), (2, 8, 10, 3)]
    assert np.concatenate(labels).tolist() == [0, 0, 0, 0, 1, 1] and labels[0].dtype == np.int64
    assert [entry["path"] for rows in info for entry in rows] == [source[i]["path"] for i in range(6)]
    for one, two in zip(batches[0], batches[2], strict=True):
        assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1]) and one[2] == two[2]


def test_a_damaged_file_in_a_worker_is_an_image_error_that_names_it(tree: Path) -> None:
    data = jpeg()
    (tree / "dog" / "b.jpg").write_bytes(data[: len(data) // 2])
    pipeline = Pipeline(source=ImageFolderSource(tree), stages=[crop], batch_size=2, num_workers=2, output="numpy")
    with pipeline, pytest.raises(ImageError, match="dog/b.jpg: .*Premature end") as caught:
        list(pipeline)
    assert any("record 4" in note for note in caught.value.__notes__)


def test_damaged_files_are_counted_and_skipped_on_request(tree: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tree / "dog" / "b.jpg").write_bytes(jpeg()[:300])
    (tree / "cat" / "text.jpg").write_bytes(b"no image at all")
    with (
        caplog.at_level(logging.WARNING, "datarax_mp"),
        Pipeline(
            source=ImageFolderSource(tree),
            stages=[crop],
            batch_size=3,
            num_workers=2,
            output="numpy",
            on_error="skip",
        ) as pipeline,
    ):
        paths = [Path(item.source_info["path"]).name for batch in pipeline for item in batch.metadata]
        assert pipeline.skipped == 2
    assert sorted(paths) == ["a.JPEG", "a.png", "c.bmp", "z.png"]
    assert "text.jpg" in caplog.text
    assert "b.jpg" in caplog.text


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [("RGBA", (8, 10, 4), "uint8"), ("L", (8, 10, 1), "uint8"), ("I;16", (8, 10, 1), "uint16")],
)
def test_all_modes_arrive_from_workers_as_in_the_calling_process(
    tmp_path: Path, mode: Any, shape: tuple[int, ...], dtype: str
) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (4, 8, 10), dtype=np.uint16)
    for number, image in enumerate(deep):
        (tmp_path / f"{number}.png").write_bytes(encoded(image, "PNG"))
    source = ImageFolderSource(tmp_path, mode=mode)
    for num_workers in (0, 2):
        with Pipeline(source=source, batch_size=4, num_workers=num_workers, output="numpy") as pipeline:
            batch = next(iter(pipeline))
            assert batch["image"].shape == (4, *shape) and batch["image"].dtype == dtype
            assert np.array_equal(batch["image"], np.stack([source[i]["image"] for i in range(4)]))
            if mode == "I;16":
                assert np.array_equal(batch["image"][..., 0], deep)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_pixel_limit_is_kept_by_whoever_reads(tree: Path, num_workers: int) -> None:
    (tree / "cat" / "large.jpg").write_bytes(jpeg())
    source = ImageFolderSource(tree, pixel_limit=100)
    with (
        Pipeline(source=source, stages=[crop], batch_size=6, num_workers=num_workers, output="numpy") as pipeline,
        pytest.raises(ImageError, match=r"large.jpg.*60 x 40 pixels are more than the 100"),
    ):
        list(pipeline)
    assert ImageFolderSource(tree, pixel_limit=None)[0]["image"].shape == (40, 60, 3)
    with pytest.raises(ValueError, match="pixel_limit.*got 0"):
        ImageFolderSource(tree, pixel_limit=0)
