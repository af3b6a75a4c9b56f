"""What data inside a user's own source costs in memory: once per host, or once per worker.

    python scripts/measure_shipping.py
    python scripts/measure_shipping.py --megabytes 500 --kinds tensor polars --workers 0 4

Each figure is the PSS of the whole process tree (main, nursery, workers) after an epoch, with so many megabytes of
data, less the same with next to none: what the data costs, shared pages counted once. Main holds the data once (1 x);
what workers share lies in the program's segment once more (2 x), whatever their number; what is a file is there once in
all. Python objects are in the segment as a pickle and in the template that workers are forked of (3 x); they would be
once more in each worker where that cannot be forked, and whose pages a worker writes to, be it by counting references.

Figures: ``results/measure_shipping-2026-11-26.txt``.
"""

from __future__ import annotations

import argparse
import array
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

RECORDS = 128


class Source:
    """A data set of the user's own that holds something large and touches all of it in an epoch."""

    def __init__(self, data: Any, length: int, get: Callable[[Any, int, int], Any]) -> None:
        self.data, self.length, self.get = data, length, get

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, number: int) -> dict[str, Any]:
        part = self.length // RECORDS
        return {"x": float(self.get(self.data, number * part, (number + 1) * part))}


class Named(np.ndarray):
    """A subclass of arrays."""


def summed(data: Any, start: int, stop: int) -> Any:
    """The sum of some values."""
    return np.asarray(data[start:stop]).sum()


def as_bytes(data: Any, start: int, stop: int) -> Any:
    """The last of some bytes."""
    return data[start:stop][-1]


def texts(data: Any, start: int, stop: int) -> Any:
    """The length of some texts."""
    return sum(map(len, data[start:stop]))


def of_arrow(data: Any, start: int, stop: int) -> Any:
    """The sum of some values of a table."""
    return data.column("x")[start:stop].to_numpy().sum()


def of_pandas(data: Any, start: int, stop: int) -> Any:
    """The same of a pandas frame."""
    return data["x"].to_numpy()[start:stop].sum()


def of_polars(data: Any, start: int, stop: int) -> Any:
    """The same of a polars frame."""
    return data["x"][start:stop].sum()


def memmap(size: int) -> Source:
    """Values in a file."""
    path = os.path.join(tempfile.mkdtemp(), "data")
    np.arange(size // 8).tofile(path)
    return Source(np.memmap(path, np.int64, "r"), size // 8, summed)


def array_of(make: Callable[[np.ndarray], Any], get: Callable[..., Any] = summed) -> Callable[[int], Source]:
    """Values, made into something else."""
    return lambda size: Source(make(np.arange(size // 8)), size // 8, get)


def tensor(values: np.ndarray) -> Any:
    """As a tensor."""
    import torch

    return torch.from_numpy(values)


def module(values: np.ndarray) -> Any:
    """As the weights of a module."""
    import torch

    return torch.nn.Embedding.from_pretrained(torch.from_numpy(values.astype(np.float64)[:, None]))


def arrow(values: np.ndarray) -> Any:
    """As a table."""
    import pyarrow

    return pyarrow.table({"x": values})


def pandas(values: np.ndarray) -> Any:
    """As a pandas frame."""
    import pandas

    return pandas.DataFrame({"x": values})


def polars(values: np.ndarray) -> Any:
    """As a polars frame."""
    import polars

    return polars.DataFrame({"x": values})


KINDS: dict[str, Callable[[int], Source]] = {
    "memmap": memmap,
    "array": array_of(lambda values: values),
    "subclass": array_of(lambda values: values.view(Named)),
    "strided": array_of(lambda values: np.repeat(values, 2)[::2]),
    "fortran": array_of(
        lambda values: np.asfortranarray(values.reshape(-1, 2)), lambda d, a, b: d[a // 2 : b // 2].sum()
    ),
    "masked": array_of(lambda values: np.ma.masked_array(values, values % 2 == 0)),
    "tensor": array_of(tensor),
    "module": array_of(module, lambda data, start, stop: data.weight[start:stop].sum()),
    "arrow": array_of(arrow, of_arrow),
    "pandas": array_of(pandas, of_pandas),
    "polars": array_of(polars, of_polars),
    "bytes": array_of(lambda values: values.tobytes(), as_bytes),
    "array.array": array_of(lambda values: array.array("q", values.tobytes())),
    "list of text": lambda size: Source([f"{n:051d}" for n in range(size // 100)], size // 100, texts),
}


def once(kind: str, workers: int, size: int) -> int:
    """Bytes of PSS of the tree after an epoch."""
    from datarax_mp import Pipeline
    from datarax_mp.monitoring.memory import tree_memory

    logging.getLogger("datarax_mp").setLevel(logging.ERROR)
    source = KINDS[kind](size)
    with Pipeline(source=source, batch_size=4, num_workers=workers, output="numpy") as pipeline:
        for _ in pipeline:
            pass
        return tree_memory().pss


def measured(kind: str, workers: int, size: int) -> int:
    """The same in a fresh interpreter."""
    command = [sys.executable, __file__, "--once", kind, str(workers), str(size)]
    return int(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What data in a user's own source costs in memory.")
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2, 8])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--once", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.once:
        kind, workers, size = arguments.once
        print(json.dumps(once(kind, int(workers), int(size))))
        return
    size = arguments.megabytes * 10**6
    print(f"MB of tree PSS for {arguments.megabytes} MB of data, by workers (in brackets: all there is)")
    print(f"{'':>14}" + "".join(f"{workers:>17}" for workers in arguments.workers))
    for kind in arguments.kinds:
        print(f"{kind:>14}", end="", flush=True)
        for workers in arguments.workers:
            whole, least = measured(kind, workers, size), measured(kind, workers, 10**6)
            print(f"{(whole - least) / 1e6:>10.0f} ({whole / 1e6:4.0f})", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
