"""Whether a pipeline's arguments have a meaning, alone and together."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from datarax_mp.core.cores import usable_cores
from datarax_mp.core.integers import integer
from datarax_mp.core.spanning import spans_processes
from datarax_mp.core.tensors import import_torch
from datarax_mp.crews.choose import WORKERS, Workers, kind_of, missing
from datarax_mp.crews.ray.workers import RayWorkers
from datarax_mp.delivery.global_arrays import shard_of_sharding
from datarax_mp.order import ShardOptions
from datarax_mp.recipe.worker_init import WorkerInit
from datarax_mp.sources.seed import check_seed, draw_seed, is_number
from datarax_mp.stages.base import Rank, Stage, mixes_rows


def resolve_workers(workers: Any, value: Any) -> tuple[Workers, int, bool]:
    """Of which kind workers are; their number, or with ``"auto"`` the most there may be; and whether it is ``"auto"``.

    Who says no kind has processes, or with ``"auto"`` what is found out to be better.
    """
    if workers is None:
        workers = "auto" if isinstance(value, str) else "processes"
    if not isinstance(workers, RayWorkers) and workers not in WORKERS:
        raise ValueError(f"workers must be one of {', '.join(map(repr, WORKERS))} or a RayWorkers, got {workers!r}")
    auto = isinstance(value, str) and value == "auto"
    if isinstance(value, str) and not auto:
        raise TypeError(f"num_workers must be an int or 'auto', got {value!r}")
    if kind_of(workers) == "ray":
        if auto:
            raise ValueError(
                "num_workers='auto' looks at the cores of this machine, and workers='ray' are on others: say how many "
                "there are to be. Those for which the cluster has no room come when it has grown"
            )
        import_module("datarax_mp.crews.ray.engine")  # delayed: it needs Ray, which may be missing
    number = usable_cores() if auto else integer("num_workers", value, least=0)
    if isinstance(workers, RayWorkers) and workers.local > number:
        raise ValueError(
            f"RayWorkers(local={workers.local}) are some of num_workers={number}: give the number of all workers, "
            "processes of this machine and actors"
        )
    if lacking := missing(workers, number):
        raise ValueError(
            f"worker processes need what this system lacks ({', '.join(lacking)}); use workers='threads' or "
            "num_workers=0"
        )
    return workers, number, auto


def resolve_batch_size(value: Any) -> int:
    """The number of records in a batch; who gives None wants single ones."""
    if value is None:
        raise TypeError("batch_size must be an int, got None; for single records set enforce_batch=False beside it")
    return integer("batch_size", value, least=1)


def resolve_seed(seed: Any, rngs: Any, own: Any, why: str | None) -> int:
    """The seed of order and stages.

    Args:
        seed: ``Pipeline(seed=...)``.
        rngs: ``Pipeline(rngs=...)``.
        own: the source's own ``rngs``, which goes before the pipeline's.
        why: what needs a seed, for the message; None if nothing does, and then no stream is moved on.
    """
    if seed is not None:
        for name, given in {"rngs": rngs, "the source's rngs": own}.items():
            if given is not None:
                raise ValueError(f"seed and {name} both say what random numbers come from; give one of them")
        return check_seed(seed)
    rngs = own if own is not None else rngs
    if why is None and not is_number(rngs):
        return 0
    if rngs is None:
        raise ValueError(
            f"{why} needs rngs, on the source or on the pipeline, or a seed: Pipeline(..., rngs=nnx.Rngs(0)) or "
            "Pipeline(..., seed=0)"
        )
    return draw_seed(rngs)


def resolve_callback(name: str, callback: Any, on_error: Any) -> Any:
    """A function that is told of skipped records, if records may be skipped."""
    if callback is not None and not callable(callback):
        raise TypeError(f"{name} must be callable, got {callback!r} of type {type(callback).__name__}")
    if callback is not None and on_error != "skip":
        raise ValueError(f"{name} is about records that are skipped: set on_error='skip' beside it")
    return callback


def resolve_ledger(path: Any) -> str | None:
    """The file of ``Pipeline(ledger=...)``, if what it needs is installed."""
    if path is None:
        return None
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"ledger must be the path of a file, got {path!r} of type {type(path).__name__}")
    import_module("datarax_mp.ledger.digests")  # delayed: it needs xxhash, which may be missing
    return os.fsdecode(path)


def resolve_fields(fields: Any) -> tuple[str, ...] | None:
    """The names that ``Pipeline(fields=...)`` gives to the items of tuples."""
    if fields is None:
        return None
    if isinstance(fields, str) or not isinstance(fields, Iterable):
        raise TypeError(f"fields must be names such as ('image', 'label'), got {fields!r}")
    names = tuple(fields)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise TypeError(f"fields must be names such as ('image', 'label'), got {fields!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"fields must differ from each other, got {names}")
    return names


def check_length(source: Any, length: int) -> None:
    """A source still has as many records as when the pipeline was made."""
    if len(source) != length:
        raise ValueError(
            f"source of type {type(source).__name__} had {length} records when the pipeline was made, and has "
            f"{len(source)} now; the order of an epoch depends on it. Make a new pipeline"
        )


def check_workers(num_workers: int, timeout: Any, restart_workers: Any) -> None:
    """``timeout`` and ``restart_workers`` are of their kinds, and there are workers for them to be about."""
    if not isinstance(restart_workers, bool):
        raise TypeError(f"restart_workers must be a bool, got {restart_workers!r}")
    if timeout is not None:
        if isinstance(timeout, bool) or not isinstance(timeout, numbers.Real):
            raise TypeError(f"timeout must be seconds or None, got {timeout!r} of type {type(timeout).__name__}")
        if not 0 < float(timeout) < math.inf:
            raise ValueError(f"timeout must be more than 0 seconds, and None is no limit; got {timeout}")
    without = "timeout" if timeout is not None else "restart_workers=False" if not restart_workers else None
    if num_workers == 0 and without is not None:
        raise ValueError(f"{without} is about worker processes, and num_workers=0 uses none")


def resolve_init(function: Any) -> WorkerInit | None:
    """What workers run before their first record."""
    if function is not None and not callable(function):
        raise TypeError(f"worker_init must be a function without arguments, got {type(function).__name__}")
    return None if function is None else WorkerInit(function)


def resolve_flags(**flags: Any) -> list[bool]:
    """What is on or off is a bool: the text ``"False"`` would be true."""
    for name, value in flags.items():
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{name} must be True or False; got {value!r} of type {type(value).__name__}")
    return list(map(bool, flags.values()))


def check_cache(cache: Any, workers: Any) -> None:
    """What is kept can be had by all workers."""
    if cache is not None and workers is not None and kind_of(workers) == "ray":
        raise ValueError(
            "Cache keeps records in this machine's memory or in a folder of it, which workers='ray' on other machines "
            "do not have. Leave it out, or use worker processes"
        )


def check_stages(device_stages: Sequence[Any], output: Any, *, pad_last: bool) -> None:
    """Stages for the device have one to run on, and no padding gets into other rows."""
    mixing = [stage.name for stage in device_stages if mixes_rows(stage)]
    if pad_last and mixing:
        raise ValueError(
            f"{mixing[0]} mixes rows with others of their batch on the device, and pad_last=True adds rows of zeros: "
            "use drop_last=True, or do it in the workers, by RandomMapBatch, where there is no padding yet"
        )
    if output != "jax" and device_stages:
        raise ValueError(f"{device_stages[0].name} runs on the device, which output={output!r} does not touch")


def check_elements(
    host: tuple[Stage, ...], shard: ShardOptions, *, drop_last: bool, pad_last: bool, sharding: Any, batch_by: Any
) -> None:
    """Single elements are wanted: nothing may concern batches, except that shards drop what they cannot share."""
    given = {"drop_last": drop_last and shard.count == 1, "pad_last": pad_last, "sharding": sharding is not None}
    given["batch_by"] = batch_by is not None
    given["a MapBatch stage"] = any(stage.rank is Rank.BATCH for stage in host)
    for name, there in given.items():
        if there:
            raise ValueError(f"{name} is about batches, and enforce_batch=False makes none")


def check_output(output: Any, *, device: Any, sharding: Any) -> None:
    """The output is a known one, and arrays have at most one place to go to."""
    if output not in ("jax", "numpy", "torch"):
        raise ValueError(f"output must be 'jax', 'numpy' or 'torch', got {output!r}")
    if device is not None and sharding is not None:
        raise ValueError("device and sharding both say where arrays go; give one of them")
    if output != "jax" and (device is not None or sharding is not None):
        raise ValueError(f"output={output!r} leaves arrays in host memory; device and sharding need output='jax'")
    if output == "torch":
        import_torch()  # what is missing is said now, not in the first epoch


def check_rest(shard: ShardOptions, *, on_error: Any, drop_last: bool, pad_last: bool, sharding: Any) -> None:
    """It is clear what becomes of a batch that is not full."""
    if on_error not in ("raise", "skip"):
        raise ValueError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
    if on_error == "skip" and sharding is not None and not pad_last:
        raise ValueError("a batch that lacks skipped records cannot be split evenly: sharding needs pad_last=True")
    if on_error == "skip" and shard.count > 1 and not pad_last:
        raise ValueError("skipped records would make the shards' batches unequal: with shard, they need pad_last=True")
    if drop_last and pad_last:
        raise ValueError("drop_last and pad_last both say what becomes of a short last batch; set one of them")
    if shard.count > 1 and not (drop_last or pad_last):
        raise ValueError(
            f"with {shard.count} shards, the records that do not fill a last batch on each of them must be dropped "
            "(drop_last=True) or filled up (pad_last=True, see batch.valid_mask), so that all have equally many steps"
        )


def resolve_shard(shard: Any, sharding: Any) -> ShardOptions:
    """Which shard ``Pipeline(shard=..., sharding=...)`` means: it follows from a sharding over several processes."""
    by_jax = isinstance(shard, str) and shard == "jax"
    if not (shard is None or by_jax or isinstance(shard, ShardOptions)):
        raise TypeError(f"shard must be a ShardOptions, 'jax' or None, got {shard!r} of type {type(shard).__name__}")
    if spans_processes(sharding):
        held = shard_of_sharding(sharding)
        if isinstance(shard, ShardOptions) and shard != held:
            raise ValueError(
                f"shard={shard}, but by the sharding this process holds the rows of {held}; leave out shard"
            )
        return held
    if by_jax:
        import jax  # delayed: only needed when asked for

        return ShardOptions(jax.process_index(), jax.process_count())
    return shard or ShardOptions(0, 1)
