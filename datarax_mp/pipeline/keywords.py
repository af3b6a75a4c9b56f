"""Arguments of other loaders, and what they are called here.

Whoever comes from PyTorch, tf.data, Grain or Hugging Face tries their names first. Such an argument is refused as any
unknown one is, but the error says what it is here, or why there is none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

Init = TypeVar("Init", bound=Callable[..., None])

_SOURCE = "source="
_STAGES = "stages=[...], functions of one record, run in the workers"
_WORKERS = "num_workers="
_PREFETCH = "prefetch_size=, batches that stand ready on the device"
_DROP = "drop_last="
_SHARD = "shard=ShardOptions(index, count), or shard='jax'"
_SHUFFLE = "shuffle=True: a permutation of the whole source, without a buffer; or shuffle=ShuffleWindow(...)"
_WARM = "nothing: workers stay warm between epochs and pipelines, until pipeline.close()"
_MEMORY = "nothing: workers write batches into shared memory, from where they go to device= or sharding="
_ORDER = "sampler=IndexSampler(numbers), or source=SubsetSource(data, numbers)"
_SEED = "seed=, or rngs="
_INIT = "worker_init=, a function without arguments; datarax_mp.worker_info() says index and count"
_SKIP = "on_error='skip'"

OURS = {
    **dict.fromkeys(("dataset", "ds", "data", "data_source", "datasource", "array", "arrays"), _SOURCE),
    **dict.fromkeys(("batch", "bs", "per_device_batch_size", "local_batch_size"), "batch_size="),
    **dict.fromkeys(
        ("transform", "transforms", "transformations", "operations", "ops", "map_fn", "preprocess"), _STAGES
    ),
    "collate_fn": "stages=[..., MapBatch(fn)], which takes the stacked batch; for records of unequal length, Pad",
    "batch_fn": "stages=[..., MapBatch(fn)], which takes the stacked batch; for records of unequal length, Pad",
    "filter_fn": "stages=[Filter(fn)]",
    **dict.fromkeys(("worker_init_fn", "init_fn", "initializer"), _INIT),
    **dict.fromkeys(("worker_count", "workers_count", "num_proc", "n_jobs", "max_workers", "nworkers"), _WORKERS),
    **dict.fromkeys(("num_threads", "num_parallel_calls", "read_options", "mp_options"), _WORKERS),
    **dict.fromkeys(("prefetch", "prefetch_factor", "prefetch_buffer_size", "buffer_size"), _PREFETCH),
    **dict.fromkeys(("worker_buffer_size", "queue_size", "num_prefetch", "device_prefetch"), _PREFETCH),
    **dict.fromkeys(("drop_remainder", "drop_incomplete", "drop_partial", "skip_last"), _DROP),
    **dict.fromkeys(("shard_options", "shard_index", "shard_id", "num_shards", "shard_count"), _SHARD),
    **dict.fromkeys(("rank", "world_size", "num_replicas", "process_index", "process_count"), _SHARD),
    **dict.fromkeys(("shuffle_buffer_size", "shuffle_buffer", "shuffle_size", "shuffle_files"), _SHUFFLE),
    **dict.fromkeys(("persistent_workers", "reuse_workers", "keep_alive"), _WARM),
    **dict.fromkeys(("pin_memory", "pin_memory_device", "use_shared_memory", "shared_memory"), _MEMORY),
    **dict.fromkeys(("epochs", "repeat", "infinite", "num_repeats"), "num_epochs=, None for a stream without end"),
    **dict.fromkeys(("index_sampler", "indices"), _ORDER),
    "batch_sampler": "batch_size= with sampler=, or batch_by=LengthGroups(lengths)",
    **dict.fromkeys(("weights", "sample_weights", "class_weights"), "sampler=WeightedSampler(weights)"),
    **dict.fromkeys(("bucket_by_length", "length_bucketing", "group_by_length"), "batch_by=LengthGroups(lengths)"),
    **dict.fromkeys(("generator", "random_seed", "shuffle_seed", "rng", "key", "random_state", "base_seed"), _SEED),
    **dict.fromkeys(("ignore_errors", "skip_errors", "on_bad_record", "error_handler"), _SKIP),
    **dict.fromkeys(("multiprocessing_context", "mp_context", "start_method"), "nothing: how workers start is ours"),
    "in_order": "nothing: batches always come in their order",
    "devices": "sharding=, a Mesh or a Sharding over several devices, or device=",
    "mesh": "sharding=, which takes a Mesh, a PartitionSpec or a Sharding",
    "pad": "pad_last=True for a short last batch; Pad among the stages for records of unequal length",
    **dict.fromkeys(("as_numpy", "to_numpy", "return_type", "output_format", "backend"), "output='jax' or 'numpy'"),
    **dict.fromkeys(("worker_timeout", "timeout_s"), "timeout="),
    **dict.fromkeys(("max_retries", "num_retries", "retry"), "retries="),
    **dict.fromkeys(("field_names", "columns", "names", "keys"), "fields=, names for the items of tuple records"),
}


def ours_by_name(init: Init) -> Init:
    """Let an ``__init__`` that takes keywords alone refuse foreign ones with the name that they have here."""
    known = [name for name in inspect.signature(init).parameters if name != "self"]

    @wraps(init)
    def checked(self: Any, *values: Any, **given: Any) -> None:
        if values or not given.keys() <= set(known):
            raise TypeError(_refusal(type(self).__name__, values, [name for name in given if name not in known], known))
        init(self, **given)

    return checked  # type: ignore[return-value]


def _refusal(owner: str, values: tuple[Any, ...], foreign: list[str], known: list[str]) -> str:
    if values:
        return (
            f"{owner} takes keywords alone, and got {len(values)} without a name: {owner}(source=..., batch_size=...)"
        )
    told = []
    for name in foreign:
        if (ours := OURS.get(name.lower())) is None:
            near = get_close_matches(name, known, n=1)
            ours = f"{near[0]}= is" if near else f"there are {', '.join(known)}"
        told.append(f"{owner} has no argument '{name}'; here: {ours}")
    return "\n".join(told)
