"""Decoding JPEG photographs: which decoder is quickest, at full size and reduced, and whether they agree.

The files of a folder are read into memory and decoded to uint8 RGB arrays on one core. A decoder that is not installed
is left out with a line that says so. The decoders take turns, round by round.

    python scripts/measure_decoders.py FOLDER
    python scripts/measure_decoders.py FOLDER --libturbojpeg path/to/libturbojpeg.so.0

How to read it: "full" decodes every pixel. "reduced" decodes at the smallest scale whose shorter side is still at
least --min-size: M/8 with libjpeg-turbo's own interface, 1/2, 1/4 or 1/8 with Pillow and OpenCV; "by 2 or more" leaves
out 5/8 to 7/8, as ImageFolderSource does. "then resized" adds what usually follows, a bilinear resize by Pillow to that
shorter side; it shows whether the smaller image pays for the slower transform. The last columns compare a decoder's
full pixels with simplejpeg's: how many images differ, and the largest difference of a value.

Figures: ``results/measure_decoders-2026-11-24.txt``.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Decode = Callable[[bytes], np.ndarray]
SUFFIXES = {".jpg", ".jpeg"}


def pillow_ways(min_size: int) -> dict[str, Decode]:
    """Pillow: ``draft`` reduces by 1/2, 1/4 or 1/8."""
    image_module: Any = import_module("PIL.Image")

    def full(data: bytes) -> np.ndarray:
        return np.asarray(image_module.open(io.BytesIO(data)).convert("RGB"))

    def reduced(data: bytes) -> np.ndarray:
        image = image_module.open(io.BytesIO(data))
        image.draft("RGB", (min_size, min_size))
        return np.asarray(image.convert("RGB"))

    return {"full": full, "reduced": reduced}


def simplejpeg_ways(min_size: int) -> dict[str, Decode]:
    """simplejpeg: M/8, and once more with nothing between full size and 1/2."""
    decode: Any = import_module("simplejpeg").decode_jpeg
    return {
        "full": lambda data: decode(data),
        "reduced": lambda data: decode(data, min_height=min_size, min_width=min_size),
        "reduced by 2 or more": lambda data: decode(data, min_height=min_size, min_width=min_size, min_factor=2),
    }


def turbojpeg_ways(min_size: int, library: str | None) -> dict[str, Decode]:
    """PyTurboJPEG, which needs the system's libturbojpeg: M/8."""
    module: Any = import_module("turbojpeg")
    turbo = module.TurboJPEG(library)
    factors = sorted((top / bottom, top, bottom) for top, bottom in turbo.scaling_factors if top <= bottom)

    def reduced(data: bytes) -> np.ndarray:
        shorter = min(turbo.decode_header(data)[:2])
        wanted = next(((top, bottom) for _, top, bottom in factors if -(-shorter * top // bottom) >= min_size), (1, 1))
        return turbo.decode(data, pixel_format=module.TJPF_RGB, scaling_factor=wanted)

    return {"full": lambda data: turbo.decode(data, pixel_format=module.TJPF_RGB), "reduced": reduced}


def opencv_ways(min_size: int) -> dict[str, Decode]:
    """OpenCV: 1/2, 1/4 or 1/8; the size is taken from simplejpeg's header because OpenCV does not tell it."""
    cv2: Any = import_module("cv2")
    header: Any = import_module("simplejpeg").decode_jpeg_header
    cv2.setNumThreads(1)
    whole = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    flags = [(8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2)]

    def reduced(data: bytes) -> np.ndarray:
        shorter = min(header(data)[:2])
        flag = next((flag for by, flag in flags if -(-shorter // by) >= min_size), None)
        packed = np.frombuffer(data, np.uint8)
        if flag is None:
            return cv2.imdecode(packed, whole)
        return cv2.cvtColor(cv2.imdecode(packed, flag | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)

    return {"full": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), whole), "reduced": reduced}


def resizing(decode: Decode, min_size: int) -> Decode:
    """Add a resize to the shorter side ``min_size``."""
    image_module: Any = import_module("PIL.Image")

    def both(data: bytes) -> np.ndarray:
        image = image_module.fromarray(decode(data))
        scale = min_size / min(image.size)
        size = tuple(max(min_size, round(side * scale)) for side in image.size)
        return np.asarray(image.resize(size, image_module.Resampling.BILINEAR))

    return both


def find_ways(min_size: int, library: str | None) -> dict[str, dict[str, Decode]]:
    """What is installed: for each decoder its ways."""
    makers: dict[str, Callable[[], dict[str, Decode]]] = {
        "Pillow": lambda: pillow_ways(min_size),
        "simplejpeg": lambda: simplejpeg_ways(min_size),
        "PyTurboJPEG": lambda: turbojpeg_ways(min_size, library),
        "opencv-python-headless": lambda: opencv_ways(min_size),
    }
    found = {}
    for name, make in makers.items():
        try:
            found[f"{name} {version(name)}"] = make()
        except (ImportError, RuntimeError, OSError) as error:
            print(f"{name} is left out: {' '.join(str(error).split())}")
    return found


def disagreement(decode: Decode, reference: Decode, photos: list[bytes]) -> tuple[int, int]:
    """How many images differ, and by how much at most."""
    most = [int(np.abs(decode(data).astype(np.int16) - reference(data)).max()) for data in photos]
    return sum(value > 0 for value in most), max(most)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description="JPEG decoders.")
    parser.add_argument("folder", type=Path, help="a folder of JPEG files")
    parser.add_argument("--min-size", type=int, default=256, help="least shorter side when reduced (default: 256)")
    parser.add_argument("--rounds", type=int, default=7, help="rounds to take the median over (default: 7)")
    parser.add_argument("--libturbojpeg", help="path of the library that PyTurboJPEG shall use")
    options = parser.parse_args()
    photos = [path.read_bytes() for path in sorted(options.folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    if not photos:
        parser.error(f"{options.folder} holds no JPEG file")

    found = find_ways(options.min_size, options.libturbojpeg)
    ways = {(name, way): decode for name, decoders in found.items() for way, decode in decoders.items()}
    for (name, way), decode in list(ways.items()):
        ways[name, f"{way}, then resized"] = resizing(decode, options.min_size)
    times: dict[tuple[str, str], list[float]] = {key: [] for key in ways}
    for _ in range(options.rounds + 1):
        for key, decode in ways.items():
            began = time.perf_counter()
            for data in photos:
                decode(data)
            times[key].append((time.perf_counter() - began) / len(photos))

    print(f"{len(photos)} photographs of {sum(map(len, photos)) / len(photos) / 1e3:.0f} kB, {os.cpu_count()} cores")
    print(f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}; medians of {options.rounds} rounds\n")
    print(f"{'decoder':31} | {'way':34} | images/s | ms per image | differ | by at most")
    print(f"{'-' * 31} | {'-' * 34} | -------: | -----------: | -----: | ---------:")
    reference = next((decoders["full"] for name, decoders in found.items() if name.startswith("simplejpeg")), None)
    for name, way in sorted(ways, key=lambda key: (len(key[1]), key[1], statistics.median(times[key][1:]))):
        seconds = statistics.median(times[name, way][1:])  # the first round warms up
        cells = f"{name:31} | {way:34} | {1 / seconds:8.0f} | {seconds * 1e3:12.2f}"
        if way == "full" and reference is not None:
            count, most = disagreement(ways[name, way], reference, photos)
            cells += f" | {count:6} | {most:10}"
        print(cells)


if __name__ == "__main__":
    main()
