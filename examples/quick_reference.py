"""The everyday idioms on one card: make batches, look into them, iterate.

    python examples/quick_reference.py

Import paths and calls are those of datarax with another import root; ``num_workers`` is what is new. Every idiom prints
a line and asserts what it shows.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from datarax_mp.core.element_batch import Batch
from datarax_mp.pipeline import Pipeline
from datarax_mp.sources import MemorySource, MemorySourceConfig

RECORDS = 100
rng = np.random.default_rng(0)
columns = {
    "image": rng.standard_normal((RECORDS, 16, 16, 3), dtype=np.float32),
    "label": rng.integers(0, 10, size=RECORDS),
}


@jax.jit
def step(images: jax.Array, labels: jax.Array) -> jax.Array:
    """Stands for a training step."""
    return jnp.mean(images) + jnp.mean(labels)


# --- make batches

# A pipeline groups the records of a source.
source = MemorySource(MemorySourceConfig(), data=columns, rngs=nnx.Rngs(0))
pipeline = Pipeline(source=source, stages=[], batch_size=16, rngs=nnx.Rngs(0))
batch = next(iter(pipeline))
print("from a pipeline:", batch)
assert isinstance(batch, Batch)
assert isinstance(batch, nnx.Module)
assert np.array_equal(batch["image"], columns["image"][:16])

# Arrays that are stacked already become a batch without a pipeline.
made = Batch.from_parts(data={"image": jnp.ones((8, 16, 16, 3)), "label": jnp.zeros(8, jnp.int32)}, states={})
print("from parts:", made)
assert made.batch_size == 8

# --- look into a batch

print("fields:", list(batch), "- image:", batch["image"].shape, batch["image"].dtype)
assert isinstance(batch["image"], jax.Array)
assert "label" in batch
assert "mask" not in batch
assert batch.get_data().keys() == columns.keys()
assert batch.batch_size == 16
print("elements:", batch.batch_size, "- the fourth is record", batch.metadata[3].index)
assert batch.metadata[3].index == 3

# --- iterate

# One loop is one epoch: every record once, and the last batch is smaller when the division leaves a rest.
pipeline = Pipeline(source=source, stages=[], batch_size=32, rngs=nnx.Rngs(0))
sizes = []
for batch in pipeline:
    value = step(batch["image"], batch["label"])
    sizes.append(batch.batch_size)
print("one epoch:", sizes)
assert sizes == [32, 32, 32, 4]
assert len(pipeline) == len(sizes)

# A pipeline may be made anew for every epoch. The shuffled source's rngs move on, so each epoch has its own order.
shuffled = MemorySource(MemorySourceConfig(shuffle=True), data=columns, rngs=nnx.Rngs(0))
orders = []
for _epoch in range(3):
    pipeline = Pipeline(source=shuffled, stages=[], batch_size=32, rngs=nnx.Rngs(0))
    orders.append([metadata.index for batch in pipeline for metadata in batch.metadata])
print("several epochs begin with:", [order[:4] for order in orders])
assert all(sorted(order) == list(range(RECORDS)) for order in orders)
assert orders[0] != orders[1] != orders[2]

# Only the first batches.
pipeline = Pipeline(source=source, stages=[], batch_size=16, rngs=nnx.Rngs(0))
first = [batch["label"] for batch in itertools.islice(pipeline, 3)]
print("the first three batches:", [labels.shape for labels in first])
assert np.array_equal(np.concatenate(first), columns["label"][:48])

# Single elements: dicts without a batch axis.
pipeline = Pipeline(source=source, stages=[], batch_size=16, rngs=nnx.Rngs(0), enforce_batch=False)
elements = list(pipeline)
print("single elements:", len(elements), "with images", elements[0]["image"].shape)
assert len(elements) == RECORDS
assert np.array_equal(elements[7]["image"], columns["image"][7])

# More batches that stand ready on the device; the stream is the same.
pipeline = Pipeline(source=source, stages=[], batch_size=32, rngs=nnx.Rngs(0), prefetch_size=4)
ahead = [np.asarray(batch["image"]) for batch in pipeline]
print("four batches ahead:", len(ahead), "batches")
assert np.array_equal(np.concatenate(ahead), columns["image"])

# --- with worker processes

# All of this with num_workers=2: the same batches, bit for bit.
with Pipeline(source=source, stages=[], batch_size=32, rngs=nnx.Rngs(0), prefetch_size=4, num_workers=2) as pipeline:
    by_workers = [np.asarray(batch["image"]) for batch in pipeline]
print("two workers:", len(by_workers), "batches, the same ones")
assert all(np.array_equal(here, there) for here, there in zip(ahead, by_workers, strict=True))
