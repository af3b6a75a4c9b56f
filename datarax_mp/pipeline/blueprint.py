"""All of a pipeline but its order: source and config, and what follows from an order once there is one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from datarax_mp.crews.auto.verdict import Decision
from datarax_mp.delivery.choose import make_delivery
from datarax_mp.delivery.placement import check_rows
from datarax_mp.delivery.transfer import holds_x64
from datarax_mp.feed.timings import Timings
from datarax_mp.order import Batches, Choice, Order, order_of
from datarax_mp.pipeline.arguments import resolve_seed
from datarax_mp.pipeline.config import Config
from datarax_mp.pipeline.lanes import lanes_of
from datarax_mp.pipeline.session import Session
from datarax_mp.pipeline.survivors import Survivors
from datarax_mp.recipe.layouts import probe
from datarax_mp.recipe.recipe import Recipe, runs_user_code
from datarax_mp.sources.adapt import Source
from datarax_mp.sources.facts import SourceFacts
from datarax_mp.stages.base import Stage
from datarax_mp.stages.filter import AskedAgain

if TYPE_CHECKING:
    from datarax_mp.cache.home import Home
    from datarax_mp.stages.device import DeviceStages

log = logging.getLogger("datarax_mp")


@dataclass(frozen=True, eq=False)
class Blueprint:
    """A source, and what a pipeline was asked to do with it.

    Attributes:
        source: where records are read from.
        facts: what is known of it beside its records.
        config: the pipeline's arguments.
        timings: where it is noted how long everybody takes, over all orders.
        decision: what ``workers="auto"`` has come to, likewise.
    """

    source: Source
    facts: SourceFacts
    config: Config
    timings: Timings = field(default_factory=Timings)
    decision: Decision = field(default_factory=Decision)

    def order(self, *, seed: int | None, rngs: Any) -> Order:
        """Which record goes where, as long as no filter has left any out.

        Args:
            seed: ``Pipeline(seed=)``.
            rngs: ``Pipeline(rngs=)``.

        Raises:
            ValueError: something needs a seed, and there is none.
        """
        config, facts = self.config, self.facts
        if facts.lanes is not None:
            choice: Choice = lanes_of(facts, config)
        else:
            if config.expands:
                config.wanted.check_items(facts)
            choice = config.wanted.choice(facts, len(self.source), self._batches)
        return order_of(
            choice,
            batch_size=1 if config.single else config.batch_size,
            seed=resolve_seed(seed, rngs, facts.rngs, self._why_a_seed(choice, rngs)),
            drop_last=config.drop_last,
            shard_index=config.shard.index,
            shard_count=config.shard.count,
            offset=facts.shard_id,
            stride=facts.shards,
        )

    @property
    def filters(self) -> bool:
        """Whether it takes a pass over the source to know which records there are."""
        return self.config.filters and self.facts.lanes is None

    def among(self, order: Order, found: Survivors) -> Order:
        """The order of what filters leave of all records, or of the items that they become."""
        if found.expansion is None:
            return order.among(found.numbers)
        choice = self.config.wanted.among_items(self.facts, found.expansion, self._batches)
        return order.of_items(choice, found.expansion)

    @property
    def _batches(self) -> Batches:
        config = self.config
        rows = 1 if config.single and config.wanted.batch_by is None else config.batch_size
        return Batches(rows, config.shard.count, config.drop_last)

    def _why_a_seed(self, choice: Choice, rngs: Any) -> str | None:
        """What needs a seed; None if nothing does."""
        if (why := self.config.wanted.why_a_seed(choice)) is not None:
            return why
        if any(stage.random for stage in (*self.config.host, *self.config.on_device)):
            return "a random stage"
        # It may draw from the global generators.
        return "the user's code" if rngs is not None and runs_user_code(self.source, self.config.host) else None

    def check(self, order: Order) -> None:
        """Make sure that there is something to do, and that batches can be split as the sharding says."""
        if len(order) == 0:
            log.warning(
                "an epoch has no batch: %d records, batch_size=%d, shards=%d, drop_last=%s",
                order.places,
                order.batch_size,
                order.shard_count,
                order.drop_last,
            )
        self.check_rows(order)

    def check_rows(self, order: Order) -> None:
        """Make sure that the batches of an order can be split as the sharding says."""
        check_rows(self.config.sharding, order, padded=self.config.pad_last)

    def open(self, order: Order) -> Session:
        """What makes the batches of an order.

        Raises:
            ValueError: a field of plain data cannot be split as the sharding says.
        """
        config = self.config
        recipe = Recipe(
            self.source,
            self._at_work(config.host) if self.facts.lanes is None else config.host,
            order,
            x64=holds_x64(config.output),
            pad=config.pad_last and (config.skip or order.ragged),
            skip=config.skip,
            reading=config.reading,
            init=config.init,
            hashed=config.ledger is not None,
            cache=self.home,
        )
        delivery = make_delivery(
            self.device_stages,
            output=config.output,
            device=config.device,
            sharding=config.sharding,
            single=config.single,
            padded=recipe.pad,
            track_name=self.facts.track_name,
        )
        if config.sharding is not None and not recipe.user_code:
            delivery.check(probe(recipe).delivered, order)  # no code of the user's is run for that
        return Session(recipe, config.options, delivery, self.timings, self.decision)

    @cached_property
    def home(self) -> Home | None:
        """Where records are kept as they come out of some of the stages; one for all orders."""
        placed = self.config.cache
        if placed is None:
            return None
        from datarax_mp.cache.home import Home  # delayed: it needs xxhash

        return Home(placed.cache, len(self._at_work(self.config.host[: placed.before])))

    @cached_property
    def device_stages(self) -> DeviceStages | None:
        """The device stages as one function, made once: modules are drawn from when it is."""
        if not self.config.on_device:
            return None
        from datarax_mp.stages.device import compile_stages  # delayed: it imports JAX

        return compile_stages(self.config.on_device)

    def _at_work(self, host: Sequence[Stage]) -> tuple[Stage, ...]:
        """The host stages without the filters whose verdict the order knows: those before any stage that expands."""
        first = next((place for place, stage in enumerate(host) if stage.expands), len(host))
        known = [stage.decides and place < first for place, stage in enumerate(host)]
        again = self.config.skip  # of some records there may be no verdict
        stages = zip(host, known, strict=True)
        return tuple(AskedAgain(stage) if decided else stage for stage, decided in stages if again or not decided)
