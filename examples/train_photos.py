"""Train a small network to tell which photograph a crop comes from; workers decode, crop and augment.

    python examples/train_photos.py
    python examples/train_photos.py --num-workers 8 --folder ~/photos --sheet ~/sheet.png
    python - < examples/train_photos.py

The photographs are 16 that lie inside the wheels of scikit-image and scikit-learn. Each is a class of its own and is
read many times in an epoch, cropped anew every time. One sees the accuracy on crops from a fixed grid (75 to 90 %;
guessing gives 6 %), how long the training waited for data, and a contact sheet: a photograph in every row, first as it
is and then as it is trained on. No crop of the grid was trained on, but its pixels were, in other crops. With a folder
that has one sub-folder per class, every fifth photograph is left out of the training, and the grid lies over those.
There is no ``if __name__ == "__main__":`` guard: workers never run this script.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp import Batch, ImageFolderSource, Normalize, Pipeline
from datarax_mp.stages.image import CenterCrop, ColorJitter, RandomFlip, RandomResizedCrop, Resize

try:
    import optax
    from PIL import Image, ImageDraw, ImageFont
except ImportError as error:
    raise ImportError(f'this example needs {error.name}: pip install "datarax-mp[examples]"') from error

SIZE = 64  # of the images that the network sees, in pixels
EPOCH_IMAGES = 512  # at least; few photographs are repeated until there are so many
BATCH_SIZE = 32
MARGIN, HEAD = 150, 36  # of the contact sheet, in pixels: for class names, and above the columns
FONT = ImageFont.load_default(size=18)
GRID = 3  # the crops that are evaluated: so many across and down
# The folders also hold drawings, test patterns, and a stereo pair, whose two photographs nobody could tell apart.
IN_WHEELS = {
    "skimage/data": (
        "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png grass.png "
        "gravel.png hubble_deep_field.jpg moon.png retina.jpg rocket.jpg"
    ),
    "sklearn/datasets/images": "china.jpg flower.jpg",
}


def photos_in_wheels() -> list[Path]:
    """The photographs in the installed packages; the packages are found without importing them, which takes long."""
    paths = []
    for folder, names in IN_WHEELS.items():
        spec = find_spec(folder.partition("/")[0])
        if spec is None or spec.origin is None:
            raise ImportError(f'this example needs {folder}: pip install "datarax-mp[examples]"')
        paths += [Path(spec.origin).parents[1] / folder / name for name in names.split()]
    return paths


class Chosen:
    """Some records of a source, in any order and any number of times. Anything with these two methods is a source."""

    def __init__(self, source: ImageFolderSource, numbers: np.ndarray) -> None:
        self.source, self.numbers = source, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.source[self.numbers[index]]


def augmentation(size: int) -> list[Any]:
    """What is done to every photograph that is trained on, in the workers; first the crop: small images cost less."""
    return [RandomResizedCrop(size, scale=(0.08, 0.6)), RandomFlip(), ColorJitter(0.3, 0.3, 0.3, hue=0.05)]


def grid_of_crops(record: dict[str, Any]) -> dict[str, Any]:
    """Replace a photograph by crops of half its sides, uint8 ``(GRID**2, SIZE, SIZE, 3)``. Runs in the workers."""
    image = record["image"]
    height, width = (max(side // 2, 1) for side in image.shape[:2])  # half of one pixel is that pixel
    tops = np.linspace(0, image.shape[0] - height, GRID).astype(int)
    lefts = np.linspace(0, image.shape[1] - width, GRID).astype(int)
    crops = [image[top : top + height, left : left + width] for top in tops for left in lefts]
    resize = Resize((SIZE, SIZE))
    return {**record, "image": np.stack([resize.map({"image": crop})["image"] for crop in crops])}


@nnx.jit(static_argnames=("classes", "steps"))
def start(classes: int, steps: int) -> tuple[nnx.Sequential, nnx.Optimizer]:
    """A new model and its optimizer; jitted, so that one compilation makes all the weights."""
    rngs, widths, layers = nnx.Rngs(1), (3, 24, 48, 96), []
    for here, there in pairwise(widths):
        layers += [nnx.Conv(here, there, (3, 3), strides=2, rngs=rngs), nnx.LayerNorm(there, rngs=rngs), nnx.relu]
    # The mean over all places: it matters what is in a crop, not where.
    model = nnx.Sequential(*layers, lambda x: x.mean(axis=(1, 2)), nnx.Linear(widths[-1], classes, rngs=rngs))
    optimizer = optax.adamw(optax.cosine_decay_schedule(6e-3, steps), weight_decay=1e-2)
    return model, nnx.Optimizer(model, optimizer, wrt=nnx.Param)


@nnx.jit
def train_step(model: nnx.Sequential, optimizer: nnx.Optimizer, batch: Batch) -> jax.Array:
    """Update the model in place; returns the loss, a scalar."""

    def loss_of(model: nnx.Sequential) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(model(batch["image"]), batch["label"]).mean()

    loss, gradients = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


@nnx.jit
def count_correct(model: nnx.Sequential, batch: Batch) -> jax.Array:
    """How many crops of a batch of grids are recognised; padding does not count."""
    found = jnp.argmax(model(batch["image"].reshape(-1, SIZE, SIZE, 3)), axis=-1).reshape(-1, GRID**2)
    return jnp.sum((found == batch["label"][:, None]) & batch.valid_mask[:, None])


def timed(pipeline: Pipeline, waits: list[float]) -> Iterator[Batch]:
    """One epoch of a pipeline; adds to ``waits`` the seconds that the caller waited for each batch."""
    asked = time.perf_counter()
    for batch in pipeline:
        waits.append(time.perf_counter() - asked)
        yield batch
        asked = time.perf_counter()


def middle_square(record: dict[str, Any]) -> dict[str, Any]:
    """Cut a photograph to the largest square in its middle; first, for what is long and narrow would grow large."""
    return CenterCrop(min(record["image"].shape[:2])).map(record)


def draw_sheet(photos: ImageFolderSource, names: Sequence[str], path: Path, columns: int = 8, size: int = 128) -> None:
    """Write a picture of up to eight photographs, a row for each: its class, itself, and augmentations of it."""
    rows = np.unique(np.linspace(0, len(photos) - 1, 8).astype(int))

    def images(numbers: np.ndarray, stages: list[Any]) -> np.ndarray:
        source = Chosen(photos, numbers)
        pipeline = Pipeline(source=source, stages=stages, batch_size=len(source), rngs=nnx.Rngs(0), output="numpy")
        return next(iter(pipeline))["image"].reshape(len(rows), -1, size, size, 3)

    # Every record has its own random numbers, so a photograph several times over makes as many different crops.
    originals = images(rows, [middle_square, Resize(size)])
    tiles = np.concatenate([originals, images(np.repeat(rows, columns - 1), augmentation(size))], axis=1)
    tiles = np.pad(tiles, [(0, 0), (0, 0), (2, 2), (2, 2), (0, 0)], constant_values=255)
    pictures = Image.fromarray(tiles.swapaxes(1, 2).reshape(len(rows) * (size + 4), columns * (size + 4), 3))
    sheet = Image.new("RGB", (pictures.width + MARGIN, pictures.height + HEAD), "white")
    sheet.paste(pictures, (MARGIN, HEAD))
    draw = ImageDraw.Draw(sheet)
    for column in range(columns):
        middle = MARGIN + round((column + 0.5) * (size + 4))
        draw.text((middle, HEAD // 2), f"augmented {column}" if column else "original", "black", FONT, anchor="mm")
    for place, row in enumerate(rows):
        name = names[photos[row]["label"]]
        middle = HEAD + round((place + 0.5) * (size + 4))
        draw.multiline_text((8, middle), textwrap.fill(name, 14), "black", FONT, anchor="lm")
    sheet.save(path)
    print(f"contact sheet: {path.resolve()}")


parser = argparse.ArgumentParser(description="Train a small network on crops of photographs.")
parser.add_argument("--num-workers", type=int, default=2, help="loader processes for training (default: 2)")
parser.add_argument("--epochs", type=int, default=6, help="passes over the training images (default: 6)")
parser.add_argument("--folder", type=Path, help="a folder of class folders to use instead of the wheels' photos")
parser.add_argument("--sheet", type=Path, default=Path("contact_sheet.png"), help="where the contact sheet goes")
options = parser.parse_args()

# JPEGs are decoded at the smallest scale that leaves 160 pixels: less work in the decoder and in the crop.
if options.folder is None:
    files = photos_in_wheels()
    photos = ImageFolderSource("/", files, labels=range(len(files)), min_size=160)
    names = [Path(file).stem.replace("_", " ") for file in files]
    classes, training, held_out = len(files), np.arange(len(files)), np.arange(len(files))
else:
    photos = ImageFolderSource(options.folder, min_size=160)
    held_out = np.arange(0, len(photos), 5)
    names = photos.classes
    classes, training = len(names), np.setdiff1d(np.arange(len(photos)), held_out)
if not classes or not len(training) or options.epochs < 1:
    parser.error(f"nothing to train on: {options.epochs} epochs of {photos}; a folder must hold class folders")
draw_sheet(photos, names, options.sheet)

workers = options.num_workers
normalise = Normalize(mean=0.5, std=0.25)  # on the device, so that bytes are moved there and not floats
train_pipeline = Pipeline(
    source=Chosen(photos, np.tile(training, -(-EPOCH_IMAGES // len(training)))),
    stages=[*augmentation(SIZE), normalise],
    batch_size=BATCH_SIZE,
    shuffle=True,
    rngs=nnx.Rngs(0),
    num_workers=workers,
    drop_last=True,
)
held_out_pipeline = Pipeline(
    source=Chosen(photos, held_out), stages=[grid_of_crops, normalise], batch_size=8, num_workers=workers, pad_last=True
)
with train_pipeline, held_out_pipeline:
    steps = options.epochs * len(train_pipeline)
    print(f"{classes} classes, {len(photos)} photographs, {steps} steps of {BATCH_SIZE} crops")
    model, optimizer = start(classes, steps)
    step = nnx.cached_partial(train_step, model, optimizer)  # NNX looks through the model once, not in every step
    waits: list[float] = []
    started = time.perf_counter()
    for epoch in range(options.epochs):
        losses = [step(batch) for batch in timed(train_pipeline, waits)]
        # Fetched once per epoch: fetching it in every step would make every step wait for the device.
        print(f"epoch {epoch + 1}: loss {float(jnp.stack(losses).mean()):.3f}", flush=True)
    took, waited = time.perf_counter() - started, sum(waits)
    correct = sum(int(count_correct(model, batch)) for batch in held_out_pipeline)

print(f"held-out accuracy {100 * correct / (len(held_out) * GRID**2):.1f} % of {len(held_out) * GRID**2} crops")
print(f"training took {took:.1f} s, {steps * BATCH_SIZE / took:.0f} images per second")
print(f"{waited:.2f} s of it ({100 * waited / took:.1f} %) were spent waiting for data")
print(train_pipeline.report())
