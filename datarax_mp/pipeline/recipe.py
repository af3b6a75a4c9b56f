"""What a pipeline does to records and makes of them, whichever records come when."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from datarax_mp.delivery.deliver import make_delivery
from datarax_mp.delivery.placement import check_fields, check_rows
from datarax_mp.delivery.transfer import holds_x64
from datarax_mp.order import Order
from datarax_mp.pipeline.scan import Survivors, survivors
from datarax_mp.pipeline.session import Options, Session
from datarax_mp.recipe.layouts import probe
from datarax_mp.recipe.recipe import Reading, runs_user_code
from datarax_mp.recipe.recipe import Recipe as Making
from datarax_mp.recipe.worker_init import WorkerInit
from datarax_mp.sources.adapt import Source
from datarax_mp.sources.facts import SourceFacts
from datarax_mp.stages.base import Stage

if TYPE_CHECKING:
    from datarax_mp.stages.device import DeviceStages

log = logging.getLogger("datarax_mp")


@dataclass(frozen=True, eq=False)
class Recipe:
    """A pipeline's arguments as far as they concern what its batches hold, resolved.

    Attributes:
        source: where records are read from.
        facts: what is known of it beside its records.
        host: host stages, filters among them.
        device: device stages.
        reading: how records are read.
        init: what workers run before their first record, or None.
        skip: whether a record for which something is raised is left out.
        pad_last: whether a batch that is not full is filled up.
        single: whether single elements are wanted.
        options: how batches are made.
    """

    source: Source
    facts: SourceFacts
    host: tuple[Stage, ...]
    device: tuple[Stage, ...]
    reading: Reading
    init: WorkerInit | None
    skip: bool
    pad_last: bool
    single: bool
    options: Options

    @property
    def filters(self) -> bool:
        """Whether it depends on the records which of them are left."""
        return any(stage.decides for stage in self.host)

    @property
    def stage_names(self) -> list[str]:
        """How messages and states call the stages."""
        return [stage.name for stage in (*self.host, *self.device)]

    def survivors(self, last: Survivors | None) -> Survivors:
        """The records that the filters leave: what was found before, or if that does not hold any more, found anew."""
        return survivors(
            self.source,
            self.host,
            self.options,
            skip=self.skip,
            reading=self.reading,
            init=self.init,
            last=last,
        )

    def why_a_seed(self, shuffle: bool, rngs: Any) -> str | None:
        """What needs a seed; None if nothing does."""
        if shuffle:
            return "shuffle=True"
        if any(stage.random for stage in (*self.host, *self.device)):
            return "a random stage"
        # It may draw from the global generators.
        return "the user's code" if rngs is not None and runs_user_code(self.source, self.host) else None

    def check_rows(self, order: Order) -> None:
        """Make sure that the batches of an order can be split as the sharding says."""
        check_rows(self.options.sharding, order, padded=self.pad_last)

    def open(self, order: Order) -> Session:
        """What makes the batches of an order.

        Raises:
            ValueError: a field of plain data cannot be split as the sharding says.
        """
        sharding, on_device = self.options.sharding, self.options.output == "jax"
        pad = self.pad_last and (self.skip or order.ragged)
        program = Making(
            self.source,
            tuple(stage for stage in self.host if not stage.decides),
            order,
            x64=holds_x64(self.options.output),
            pad=pad,
            skip=self.skip,
            reading=self.reading,
            init=self.init,
        )
        if sharding is not None and not program.user_code:
            check_fields(probe(program).delivered, sharding, order, padded=pad)  # no code of the user's is run for that
        delivery = make_delivery(
            self._compiled,
            single=self.single,
            padded=pad,
            on_device=on_device,
            sharding=sharding,
            track_name=self.facts.track_name,
        )
        return Session(program, self.options, *delivery)

    @cached_property
    def _compiled(self) -> DeviceStages | None:
        if not self.device:
            return None
        from datarax_mp.stages.device import compile_stages  # delayed: it imports JAX

        return compile_stages(self.device)


def warn_of_nothing(order: Order) -> None:
    """Say so where an epoch has no batch at all."""
    if len(order) == 0:
        log.warning(
            "an epoch has no batch: %d records, batch_size=%d, shards=%d, drop_last=%s",
            order.places,
            order.batch_size,
            order.shard_count,
            order.drop_last,
        )
