"""Decode, crop and resize real photographs in worker processes, with a function that this script defines.

    python examples/decode_photos.py
    python examples/decode_photos.py --num-workers 8 --folder ~/photos
    python - < examples/decode_photos.py

The photographs are those that lie inside the wheels of scikit-image and scikit-learn, each decoded many times, or those
of a folder of your own. The source is a plain list of dicts. Its text, the path, cannot become an array, so it travels
in the metadata. There is no ``if __name__ == "__main__":`` guard: workers never run this script.

One sees the batch's shapes, one element's metadata, and the images per second with no worker and with several; the
random crops are the same.
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from datarax_mp import Batch, DeviceStage, Pipeline, RandomMapElement

try:
    from PIL import Image
except ImportError as error:
    raise ImportError('this example needs Pillow: pip install "datarax-mp[examples]"', name=error.name) from error

SIZE = 128
SUFFIXES = {".jpg", ".jpeg", ".png"}
# The folders also hold drawings and test patterns; these are the photographs, colour and greyscale.
IN_WHEELS = {
    "skimage/data": (
        "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png grass.png "
        "gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png motorcycle_right.png retina.jpg "
        "rocket.jpg"
    ),
    "sklearn/datasets/images": "china.jpg flower.jpg",
}


def photos_in_wheels() -> list[Path]:
    """The photographs in the installed packages; the packages are found without importing them."""
    paths = []
    for place, names in IN_WHEELS.items():
        package, _, folder = place.partition("/")
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise ImportError(
                f'this example needs the package {package!r}: pip install "datarax-mp[examples]"', name=package
            )
        paths += [Path(spec.origin).parent / folder / name for name in names.split()]
    return [path for path in paths if path.is_file()]


def photos_in(folder: Path) -> list[Path]:
    """The photographs in a folder and the folders in it."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def decode(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Open a photograph and resize a random square of it to uint8 ``(SIZE, SIZE, 3)``. Runs in the workers."""
    with Image.open(record["path"]) as photo:
        width, height = photo.size
        side = min(width, height) * rng.uniform(0.5, 1.0)
        left, top = rng.uniform(0.0, width - side), rng.uniform(0.0, height - side)
        box = (left, top, left + side, top + side)
        image = photo.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box)
    return {**record, "image": np.asarray(image)}


def normalise(data: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """uint8 in 0..255 to float32 in -1..1. Runs on the device, so that a quarter of the bytes are moved there."""
    return {**data, "image": data["image"].astype(np.float32) / 127.5 - 1.0}


def decoding(records: list[dict[str, Any]], batch_size: int, num_workers: int) -> Pipeline:
    """The pipeline: decode in the workers, normalise on the device."""
    return Pipeline(
        source=records,
        stages=[RandomMapElement(decode), DeviceStage(normalise)],
        batch_size=batch_size,
        rngs=nnx.Rngs(0),
        shuffle=True,
        num_workers=num_workers,
    )


def show(batch: Batch) -> None:
    """Print what is in a batch."""
    for name, array in batch.items():
        print(f"batch[{name!r}]: {array.dtype} {array.shape}, from {array.min()} to {array.max()}")
    print(f"element 0: label {batch['label'][0]}, {batch.metadata[0]}\n")


def measure(pipeline: Pipeline, num_workers: int) -> list[float]:
    """Run one epoch, its start included, and print the speed; returns the mean of every batch."""
    means, count, first = [], 0, 0.0
    started = time.perf_counter()
    for batch in pipeline:
        first = first or time.perf_counter() - started
        count += batch.batch_size
        means.append(batch["image"].mean())
    values = [float(mean) for mean in means]
    took = time.perf_counter() - started
    print(
        f"num_workers={num_workers}: {count / took:.0f} images per second, {count} in {took:.2f} s, "
        f"the first batch after {first:.2f} s"
    )
    return values


parser = argparse.ArgumentParser(description="Decode real photographs in worker processes.")
parser.add_argument("--num-workers", type=int, default=2, help="worker processes to compare with none (default: 2)")
parser.add_argument("--batch-size", type=int, default=32, help="photographs in a batch (default: 32)")
parser.add_argument("--images", type=int, default=256, help="photographs to decode, with repetition (default: 256)")
parser.add_argument("--folder", type=Path, help="a folder of JPEG and PNG files to use instead of those in the wheels")
options = parser.parse_args()

photos = photos_in_wheels() if options.folder is None else photos_in(options.folder)
if not photos or options.images < 1:
    parser.error(f"nothing to decode: {len(photos)} photographs in {options.folder}, --images {options.images}")
print(f"{len(photos)} photographs, decoded {options.images} times in all\n")
records = [{"path": str(path), "label": label} for label, path in islice(cycle(enumerate(photos)), options.images)]

with decoding(records, options.batch_size, num_workers=0) as pipeline:
    show(next(iter(pipeline)))

results = []
for num_workers in sorted({0, options.num_workers}):
    with decoding(records, options.batch_size, num_workers) as pipeline:
        results.append(measure(pipeline, num_workers))
if any(result != results[0] for result in results):
    raise SystemExit("the crops depend on the number of workers")
if len(results) > 1:
    print("the same crops with every number of workers")
