"""The examples, run as a user runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str, stdin: bool = False) -> str:
    path = EXAMPLES / name
    with path.open() as script:
        done = subprocess.run(
            [sys.executable, "-" if stdin else str(path), *arguments],
            stdin=script if stdin else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done.stdout


def test_train_digits_reaches_97_percent_and_says_how_long_it_waited() -> None:
    out = run("train_digits.py")
    accuracy = re.search(r"held-out accuracy ([\d.]+) %", out)
    assert accuracy is not None, out
    assert float(accuracy[1]) > 97
    assert "waiting for data" in out


def test_photographs_are_decoded_by_ray_actors_as_without_them() -> None:
    pytest.importorskip("ray")
    out = run("decode_remotely.py", "--copies", "100")
    assert "2 actors: 400 photographs" in out
    assert "the first 3 batches are the same as without workers" in out


def test_train_photos_recognises_crops_and_draws_a_sheet_as_a_script_on_standard_input(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    out = run("train_photos.py", "--sheet", str(sheet), stdin=True)
    accuracy = re.search(r"held-out accuracy ([\d.]+) %", out)
    assert accuracy is not None, out
    assert float(accuracy[1]) > 60  # 76 to 89 over four seeds; guessing gives 6
    assert "images per second" in out
    assert "waiting for data" in out
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture)
        head, margin = (side - 8 * 132 for side in pixels.shape[:2])
        assert (pixels[:head, margin:] < 100).any() and (pixels[head:, :margin] < 100).any()  # there are words
        tiles = pixels[head:, margin:].reshape(8, 132, 8, 132, 3).swapaxes(1, 2)
    for row in tiles:
        assert len({tile.tobytes() for tile in row}) == 8  # no two augmentations of a photograph are the same


def test_train_photos_takes_a_folder_of_class_folders_and_images_one_pixel_wide(tmp_path: Path) -> None:
    for label in range(2):
        (tmp_path / f"class {label}").mkdir()
        for number in range(5):
            shape = {0: (40, 1, 3), 1: (1, 60, 3)}.get(number, (40, 60, 3))  # evaluated; trained on
            pixels = np.random.default_rng(number).integers(0, 256, shape) // (1 + 3 * label)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"class {label}" / f"{number}.png")
    sheet = tmp_path / "class 0" / ".sheet.png"
    out = run("train_photos.py", "--folder", str(tmp_path), "--epochs", "1", "--sheet", str(sheet))
    assert "2 classes, 10 photographs" in out
    assert "% of 18 crops" in out  # two of the ten are held out, and nine crops made of each
    assert sheet.exists()


def test_the_idioms_of_the_quick_reference_run() -> None:
    run("quick_reference.py")


def test_a_keras_model_learns_from_pipelines() -> None:
    out = run("train_keras.py")
    accuracy = re.search(r"held-out accuracy ([\d.]+) %", out)
    assert accuracy is not None, out
    assert float(accuracy[1]) >= 95
    assert "Epoch 15/15" in out
    assert "waiting" in out


def test_text_is_tokenised_and_packed_in_workers_and_a_model_learns_from_it() -> None:
    out = run("train_text.py")
    assert "99.9 % full" in out
    before, after = (float(bits) for bits in re.findall(r"([\d.]+) bits per byte", out))
    assert after < 3.6 < before


def test_a_killed_training_run_goes_on_and_ends_with_the_same_parameters() -> None:
    out = run("resume.py")
    killed, resumed = (int(step) for step in re.findall(r"(?:killed|goes on) after step (\d+)", out))
    assert 40 <= resumed <= killed < 168, out
    assert "ended after step 168" in out
    assert "18346 parameters in 6 arrays, of which 0 differ" in out


def test_a_language_model_learns_from_windows_of_a_file_of_tokens() -> None:
    out = run("train_tokens.py", "--steps", "80")
    before, after = (float(bits) for bits in re.findall(r"([\d.]+) (?:bits per token before|after)", out))
    assert after < 4 < before, out


def test_text_of_a_hugging_face_data_set_is_tokenised_a_batch_at_a_time() -> None:
    out = run("classify_text.py", "--epochs", "2")
    accuracy = re.search(r"held-out accuracy ([\d.]+)%", out)
    assert accuracy is not None, out
    assert float(accuracy[1]) > 95


def test_two_hosts_begin_an_epoch_that_one_of_them_ends() -> None:
    out = run("several_hosts.py")
    assert "together each of the 1347 once: True" in out
    assert "read-2-0: 480 records" in out
    assert "read-2-1: 480 records" in out


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_every_example_is_run_here(name: str) -> None:
    assert name in Path(__file__).read_text()


@pytest.mark.parametrize("more", [[], ["--bucket"]], ids=["on the disk", "in a bucket"])
def test_a_run_from_parquet_shards_that_was_killed_ends_with_the_same_parameters(more: list[str]) -> None:
    out = run("train_shards.py", "--epochs", "1", *more)
    assert "killed after step" in out
    assert "goes on after step" in out
    assert "parameters in 5 arrays, of which 0 differ" in out
