"""Augmentation: which library crops and resizes quickest, what each image stage costs, and what a generator costs.

    python scripts/measure_augment.py FOLDER

FOLDER holds photographs (JPEG); they are decoded once, before the clock runs. Pillow is needed for that and as the
reference. Each number is the median over rounds of the mean time per image in a round; the ways take turns, photo by
photo, on one thread, as in a worker.

First table: an Inception crop (one per photo, the same for all ways) scaled to 224 by 224. "unlike Pillow" is the mean
difference to Pillow's bilinear filter, in levels of 255; "noise" is the deviation that is left of white noise
after a reduction by 4, as a share of what a mean over 4 by 4 pixels leaves: 1 is a good antialiasing.
Second table: the stages of ``datarax_mp``, after the crop at 224 by 224. Third: the generator of a random stage.

Figures: ``results/measure_augment-2026-11-24.txt``.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# One thread, as in a worker; the libraries read it when they are loaded.
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1", OPENCV_FOR_THREADS_NUM="1")

import numpy as np

import datarax_mp
from datarax_mp.stages.image.pixels import resize
from datarax_mp.stages.random_map import Generators, generator_for

try:
    import cv2
except ImportError:
    cv2 = None  # type: ignore[assignment]
    print('OpenCV is not installed, its ways and the stages are left out: python -m pip install "datarax-mp[images]"')
try:
    from PIL import Image
except ImportError:
    sys.exit("scripts/measure_augment.py decodes photos with Pillow: python -m pip install pillow")

SIZE = 224
Way = Callable[[np.ndarray], Any]


def by_pillow(kernel: Image.Resampling, gap: float | None = None) -> Way:
    """Pillow's resize, without and with a first reduction by a whole number."""

    def way(part: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(part).resize(_target(part)[::-1], kernel, reducing_gap=gap))

    return way


def by_numpy(part: np.ndarray) -> np.ndarray:
    """Pillow's bilinear filter as two matrix products."""

    def weights(length: int, wanted: int) -> np.ndarray:
        scale = length / wanted
        centres, pixels = (np.arange(wanted) + 0.5) * scale, np.arange(length) + 0.5
        tent = np.maximum(0, 1 - np.abs(pixels - centres[:, None]) / max(scale, 1)).astype(np.float32)
        return tent / tent.sum(1, keepdims=True)

    rows, columns, channels = part.shape
    height, width = _target(part)
    tall = (weights(rows, height) @ part.reshape(rows, -1).astype(np.float32)).reshape(height, columns, channels)
    return (weights(columns, width) @ tall + 0.5).astype(np.uint8)


def by_opencv() -> dict[str, Way]:
    """OpenCV's own ways, and ours, which is made of them."""
    if cv2 is None:
        return {}

    def plain(kernel: int, larger: int | None = None) -> Way:
        def way(part: np.ndarray) -> np.ndarray:
            height, width = _target(part)
            smaller = part.shape[0] >= height or part.shape[1] >= width
            return cv2.resize(part, (width, height), interpolation=kernel if smaller or larger is None else larger)

        return way

    return {
        "OpenCV linear": plain(cv2.INTER_LINEAR),
        "OpenCV area, linear to enlarge": plain(cv2.INTER_AREA, cv2.INTER_LINEAR),
        "datarax_mp: OpenCV linear, halved": lambda part: resize(part, *_target(part)),
    }


def _target(part: np.ndarray) -> tuple[int, int]:
    # The noise of the quality test is reduced by 4, a photo's part to the usual size.
    return (len(part) // 4, len(part) // 4) if len(part) == NOISE_SIDE else (SIZE, SIZE)


NOISE_SIDE = 1600


def time_ways(ways: dict[str, Callable[..., Any]], inputs: Sequence[tuple], rounds: int) -> dict[str, float]:
    """Microseconds per call of each way: the median over rounds of the mean over the inputs; the ways take turns."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):  # the first one warms up
        spent = dict.fromkeys(ways, 0.0)
        for arguments in inputs:
            for name, way in ways.items():
                began = time.perf_counter()
                way(*arguments)
                spent[name] += time.perf_counter() - began
        for name, seconds in spent.items():
            found[name].append(seconds * 1e6 / len(inputs))
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def measure_resize(photos: Sequence[np.ndarray], rounds: int) -> None:
    """Print the first table."""
    rng, crop = np.random.default_rng(0), datarax_mp.RandomResizedCrop(SIZE)
    parts = []
    for photo in photos:
        top, left, rows, columns = crop.draw_box(photo.shape[0], photo.shape[1], rng)
        parts.append(photo[top : top + rows, left : left + columns])
    reference = by_pillow(Image.Resampling.BILINEAR)
    ways: dict[str, Way] = {
        "Pillow bilinear": reference,
        "Pillow bilinear, reducing_gap=2": by_pillow(Image.Resampling.BILINEAR, 2.0),
        "Pillow box": by_pillow(Image.Resampling.BOX),
        "NumPy, two matrix products": by_numpy,
        **by_opencv(),
    }
    noise = rng.integers(0, 256, (NOISE_SIDE, NOISE_SIDE, 3), dtype=np.uint8)
    times = time_ways(ways, [(part,) for part in parts], rounds)
    print(f"{'crop and resize':33} | {'µs':>6} | unlike Pillow | noise")
    print(f"{'-' * 33} | -----: | ------------: | ----:")
    for name, way in ways.items():
        unlike = np.mean([np.abs(way(part).astype(int) - reference(part)).mean() for part in parts[:40]])
        left = way(noise).std() / (noise.std() / 4)
        print(f"{name:33} | {times[name]:6.0f} | {unlike:13.2f} | {left:5.2f}")


def measure_stages(photos: Sequence[np.ndarray], rounds: int) -> None:
    """Print the second table."""
    rng = np.random.default_rng(0)
    crop = datarax_mp.RandomResizedCrop(SIZE)
    records = [(crop.random_map({"image": photo}, rng),) for photo in photos]
    out = np.empty((SIZE, SIZE, 3), np.uint8)
    small = {
        "RandomFlip(1.0)": datarax_mp.RandomFlip(1.0),
        "RandomCrop(224, padding=4)": datarax_mp.RandomCrop(SIZE, padding=4),
        "ColorJitter(0.4)": datarax_mp.ColorJitter(0.4),
        "ColorJitter(0.4, 0.4, 0.4)": datarax_mp.ColorJitter(0.4, 0.4, 0.4),
        "ColorJitter(0.4, 0.4, 0.4, 0.1)": datarax_mp.ColorJitter(0.4, 0.4, 0.4, 0.1),
    }
    ways: dict[str, Callable[[dict[str, Any]], Any]] = {
        "collating an image": lambda record: np.copyto(out, record["image"]),
        "collating image[:, ::-1]": lambda record: np.copyto(out, record["image"][:, ::-1]),
    }
    for name, stage in small.items():
        ways[name] = lambda record, apply=stage.random_map: apply(record, rng)
    times = time_ways(ways, records, rounds)
    whole: dict[str, Callable[[dict[str, Any]], Any]] = {
        "RandomResizedCrop(224)": lambda record: crop.random_map(record, rng),
        "Resize(256)": datarax_mp.Resize(256).map,
    }
    times.update(time_ways(whole, [({"image": photo},) for photo in photos], rounds))
    print(f"\n{'stage':33} |     µs\n{'-' * 33} | -----:")
    for name, micros in times.items():
        print(f"{name:33} | {micros:6.1f}")


def measure_generators(rounds: int) -> None:
    """Print the third table."""
    generators, drawn = Generators(0, 0, 0), np.random.default_rng(0)

    def draw(_: int) -> None:
        drawn.random()
        drawn.integers(10)

    def by_key(record: int) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=[1, record], counter=[0, 0, 0, 1]))

    ways: dict[str, Callable[[int], Any]] = {
        "a draw: random() and integers(10)": draw,
        "Generator(Philox(key=...))": by_key,
        "generator_for": lambda record: generator_for(0, 0, record, 0),
        "Generators.of, as the pipeline does": generators.of,
    }
    times = time_ways(ways, [(record,) for record in range(3000)], rounds)
    print(f"\n{'generator':35} |   µs\n{'-' * 35} | ---:")
    for name, micros in times.items():
        print(f"{name:35} | {micros:4.1f}")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description="What augmentation costs.")
    parser.add_argument("folder", type=Path, help="a folder with JPEG photographs")
    parser.add_argument("--rounds", type=int, default=5, help="rounds to take the median over (default: 5)")
    parser.add_argument("--photos", type=int, default=200, help="how many of the photos to use (default: 200)")
    options = parser.parse_args()
    paths = sorted(path for path in options.folder.iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    if not paths:
        parser.error(f"no file ending in .jpg or .jpeg in {options.folder}")
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in paths[: options.photos]]
    rows, columns = np.median([photo.shape[:2] for photo in photos], axis=0)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, ", end="")
    print(f"NumPy {np.__version__}, Pillow {Image.__version__}", end="")
    print(f", OpenCV {cv2.__version__}" if cv2 else "", end="")
    print(f"; {len(photos)} photos, {rows:.0f} by {columns:.0f} (median)\n")
    measure_resize(photos, options.rounds)
    if cv2 is not None:
        measure_stages(photos, options.rounds)
    measure_generators(options.rounds)


if __name__ == "__main__":
    main()
