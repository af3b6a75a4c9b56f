"""Photographs decoded on other machines: by actors of a Ray cluster, for a host whose own cores do not suffice.

    pip install "datarax-mp[examples,ray]"
    python examples/decode_remotely.py                       # a Ray on this machine, started and shut down again
    python examples/decode_remotely.py --address auto        # on a node of your cluster
    python examples/decode_remotely.py --actors 64 --resource loading

The JPEG files lie in a MemorySource, so they are in each node's object store once, however many actors there are. What
comes back are crops of 224 x 224 pixels, some 10 MB a batch of 64. The first batches are compared with those that this
process makes without any worker: which machine has made a batch cannot be seen in it.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import Counter
from typing import Any

import numpy as np
from PIL import Image
from skimage import data

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline, RandomMapElement, RayWorkers, decode_image

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
BATCH, COMPARED = 64, 3


def files(copies: int) -> MemorySource:
    """The sample photographs as JPEG files, several times."""
    encoded = []
    for name in PHOTOGRAPHS:
        Image.fromarray(getattr(data, name)()).save(file := io.BytesIO(), "JPEG", quality=90)
        encoded.append(file.getvalue())
    columns = {"jpeg": encoded * copies, "label": np.tile(np.arange(len(encoded), dtype=np.int32), copies)}
    return MemorySource(MemorySourceConfig(shuffle=True), columns)


def crop(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Decode a photograph, and take some part of it."""
    image = decode_image(record["jpeg"])
    top, left = (int(rng.integers(size - 223)) for size in image.shape[:2])
    return {"image": image[top : top + 224, left : left + 224], "label": record["label"]}


def main() -> None:
    """Decode an epoch by actors, and say how fast that was and who has done how much."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", help="of the cluster, as for ray.init")
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--resource", help="of the nodes on which actors are to be; one of it for each")
    parser.add_argument("--copies", type=int, default=300)
    given = parser.parse_args()
    resources = None if given.resource is None else {given.resource: 1.0}
    remote = RayWorkers(address=given.address, resources=resources)
    options: dict[str, Any] = {"batch_size": BATCH, "stages": [RandomMapElement(crop)], "seed": 0, "output": "numpy"}
    with Pipeline(source=files(given.copies), num_workers=given.actors, workers=remote, **options) as pipeline:
        first = [batch["image"].copy() for batch, _ in zip(pipeline, range(COMPARED), strict=False)]
        began, labels = time.perf_counter(), Counter[int]()
        for batch in pipeline:
            labels.update(batch["label"].tolist())
        seconds = time.perf_counter() - began
    print(f"{given.actors} actors: {labels.total()} photographs, {labels.total() / seconds:.0f} a second")
    with Pipeline(source=files(given.copies), **options) as plain:
        same = all(np.array_equal(batch["image"], theirs) for batch, theirs in zip(plain, first, strict=False))
    print(f"the first {len(first)} batches are {'the same' if same else 'NOT the same'} as without workers")
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
