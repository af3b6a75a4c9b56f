"""A pipeline's arguments, resolved once: everybody below is handed values, and nobody resolves anything again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.integers import integer
from datarax_mp.delivery.placement import resolve_device, resolve_sharding
from datarax_mp.delivery.transfer import Output
from datarax_mp.order import ShardOptions
from datarax_mp.pipeline import arguments
from datarax_mp.pipeline.choosing import Wanted
from datarax_mp.pipeline.options import Options
from datarax_mp.pipeline.skips import SkippedRecord
from datarax_mp.recipe.recipe import Reading
from datarax_mp.recipe.worker_init import WorkerInit
from datarax_mp.stages.base import Stage
from datarax_mp.stages.cache import Placed, taken_out
from datarax_mp.stages.split import several_stages, split_stages


@dataclass(frozen=True, kw_only=True, eq=False)
class Config:
    """What a pipeline was asked for.

    Attributes:
        batch_size: records in a batch, as given.
        single: whether single elements are wanted.
        drop_last: whether a last batch that is not full is left out.
        pad_last: whether it is filled up.
        wanted: which records an epoch is to have.
        shard: which of several hosts this one is.
        output: "jax", "numpy" or "torch".
        device: the target device, or None.
        sharding: how rows are split over devices, or None.
        stages: all stages, as given.
        host: host stages, filters among them, without the cache.
        cache: what keeps records as they come out of some of these, or None.
        on_device: device stages.
        reading: how records are read.
        init: what workers run before their first record, or None.
        skip: whether a record for which something is raised is left out.
        on_skip: told of such records, or None.
        num_epochs: how many epochs one iterator goes through, or None for all there will ever be.
        ledger: the file that is told what was received, or None.
        options: how batches are made, whichever they are.
    """

    batch_size: int
    single: bool
    drop_last: bool
    pad_last: bool
    wanted: Wanted
    shard: ShardOptions
    output: Output
    device: Any
    sharding: Any
    stages: tuple[Any, ...]
    host: tuple[Stage, ...]
    cache: Placed | None
    on_device: tuple[Stage, ...]
    reading: Reading
    init: WorkerInit | None
    skip: bool
    on_skip: Callable[[SkippedRecord], Any] | None
    num_epochs: int | None
    ledger: str | None
    options: Options

    @classmethod
    def of(
        cls,
        *,
        batch_size: Any,
        stages: Any,
        fields: Any,
        enforce_batch: Any,
        drop_last: Any,
        pad_last: Any,
        shuffle: Any,
        sampler: Any,
        batch_by: Any,
        shard: Any,
        device: Any,
        sharding: Any,
        output: Any,
        on_error: Any,
        on_skip: Any,
        retries: Any,
        worker_init: Any,
        num_epochs: Any,
        ledger: Any,
        **effort: Any,
    ) -> Config:
        """Resolve the arguments of ``Pipeline`` (but for where records and random numbers come from).

        Raises:
            TypeError: an argument is of the wrong kind.
            ValueError: an argument has no meaning, alone or together with others.
        """
        batch_size = arguments.resolve_batch_size(batch_size)
        enforce_batch, drop_last, pad_last = arguments.resolve_flags(
            enforce_batch=enforce_batch, drop_last=drop_last, pad_last=pad_last
        )
        options = _options(**effort, run_steps=None if enforce_batch else batch_size)
        wanted = Wanted.of(shuffle, sampler, batch_by)
        arguments.check_output(output, device=device, sharding=sharding)
        device, sharding = resolve_device(device), resolve_sharding(sharding)
        shard = arguments.resolve_shard(shard, sharding)
        arguments.check_rest(shard, on_error=on_error, drop_last=drop_last, pad_last=pad_last, sharding=sharding)
        stages = several_stages(stages)
        host, on_device = split_stages(stages)
        host, cache = taken_out(host)
        arguments.check_cache(cache, options.workers if options.num_workers else None)
        arguments.check_stages(on_device, output, pad_last=pad_last)
        if not enforce_batch:
            arguments.check_elements(
                host, shard, drop_last=drop_last, pad_last=pad_last, sharding=sharding, batch_by=batch_by
            )
        return cls(
            batch_size=batch_size,
            single=not enforce_batch,
            drop_last=drop_last,
            pad_last=pad_last,
            wanted=wanted,
            shard=shard,
            output=output,
            device=device,
            sharding=sharding,
            stages=stages,
            host=host,
            cache=cache,
            on_device=on_device,
            reading=Reading(arguments.resolve_fields(fields), integer("retries", retries, least=0)),
            init=arguments.resolve_init(worker_init),
            skip=on_error == "skip",
            on_skip=arguments.resolve_callback("on_skip", on_skip, on_error),
            num_epochs=None if num_epochs is None else integer("num_epochs", num_epochs, least=1),
            ledger=arguments.resolve_ledger(ledger),
            options=options,
        )

    @property
    def filters(self) -> bool:
        """Whether it depends on the records which of them are left, or how many they become."""
        return self.expands or any(stage.decides for stage in self.host)

    @property
    def expands(self) -> bool:
        """Whether a stage makes several records of one."""
        return any(stage.expands for stage in self.host)

    @property
    def stage_names(self) -> list[str]:
        """How messages and states call the stages."""
        return [stage.name for stage in (*self.host, *self.on_device)]


def _options(
    *,
    workers: Any,
    num_workers: Any,
    prefetch_size: Any,
    timeout: Any,
    restart_workers: Any,
    memory_budget: Any,
    run_steps: int | None,
) -> Options:
    kind, number, auto = arguments.resolve_workers(workers, num_workers)
    arguments.check_workers(number, timeout, restart_workers)
    return Options(
        num_workers=number,
        workers=kind,
        prefetch_size=integer("prefetch_size", prefetch_size, least=0),
        timeout=timeout,
        restart_workers=restart_workers,
        run_steps=run_steps,
        auto=auto,
        memory_budget=None if memory_budget is None else integer("memory_budget", memory_budget, least=1),
    )
