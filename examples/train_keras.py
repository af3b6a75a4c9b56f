"""Train a Keras model on handwritten digits that loader processes shuffle and distort.

    python examples/train_keras.py
    python examples/train_keras.py --num-workers 0 --epochs 20

Keras runs on JAX. ``fit`` is given two pipelines, one to train on and one to validate with after every epoch; each of
its epochs is one of theirs. The 1797 digits of scikit-learn (``load_digits``, 8x8 pixels) are shifted by up to a pixel
in the workers, another way in every epoch.

One sees Keras's own progress bars, the loader's report, and the accuracy on 449 held-out digits, 96 or 97 %.
The exit code is 1 if it is below 95 %.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from datarax_mp import Pipeline, RandomMapElement, split
from datarax_mp.keras import PipelineDataset  # before Keras itself, which it tells to run on JAX

try:
    import keras
    from sklearn.datasets import load_digits
except ImportError as error:
    raise ImportError(
        f'this example needs the package {error.name!r}: pip install "datarax-mp[examples]"', name=error.name
    ) from error

LEAST_ACCURACY = 0.95


def shifted(record: dict[str, np.ndarray], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A digit moved to the left or right by up to a pixel; ``image`` is float32 ``(8, 8, 1)``."""
    right = rng.integers(0, 3)
    room = np.pad(record["image"], ((0, 0), (1, 1), (0, 0)))
    return {**record, "image": room[:, right : right + 8]}


def network() -> keras.Model:
    """Two convolutions and a dense layer."""
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(24, 3, padding="same", activation="relu"),
            layers.Conv2D(48, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def main() -> int:
    """Train, validating after every epoch."""
    parser = argparse.ArgumentParser(description="Train a Keras model on handwritten digits.")
    parser.add_argument("--num-workers", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()

    digits = load_digits()
    images = digits.images[..., None].astype(np.float32) / 16
    training, held_out = split({"image": images, "label": digits.target.astype(np.int32)}, (0.75, 0.25), seed=0)
    options = {"batch_size": arguments.batch_size, "num_workers": arguments.num_workers}
    stages = [RandomMapElement(shifted)]
    train = Pipeline(source=training, stages=stages, shuffle=True, seed=0, drop_last=True, **options)
    check = Pipeline(source=held_out, **options)

    keras.utils.set_random_seed(0)
    model = network()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(3e-3), loss, metrics=["accuracy"])
    with train, check:
        history = model.fit(
            PipelineDataset(train, "image", "label"),
            validation_data=PipelineDataset(check, "image", "label"),
            epochs=arguments.epochs,
            verbose=2 if not sys.stdout.isatty() else 1,
        )
        print(train.report())
    accuracy = history.history["val_accuracy"][-1]
    print(f"held-out accuracy {100 * accuracy:.1f} % of {len(held_out)} digits")
    return int(accuracy < LEAST_ACCURACY)


if __name__ == "__main__":
    sys.exit(main())
