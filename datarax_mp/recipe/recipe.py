"""What makes a pipeline's batches what they are, whoever makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from datarax_mp.order import Order
from datarax_mp.recipe.worker_init import WorkerInit
from datarax_mp.sources.adapt import Source
from datarax_mp.sources.facts import SourceFacts
from datarax_mp.stages.base import Rank, Stage

if TYPE_CHECKING:
    from datarax_mp.cache.home import Home


@dataclass(frozen=True, slots=True)
class Reading:
    """How records are read.

    Attributes:
        fields: names for the items of records that are tuples, or None.
        retries: how often reading is tried again after it has raised.
    """

    fields: tuple[str, ...] | None = None
    retries: int = 0


@dataclass(frozen=True, eq=False)
class Recipe:
    """Source, host stages and order: a frozen value, the same in every process.

    Attributes:
        source: where records are read from.
        stages: host stages, in the order of their ranks. The order knows which records filters leave, so of those only
            such are here as come after a stage that makes several records of one.
        order: which record goes where.
        x64: whether JAX holds 64-bit types; None when the output is NumPy and every dtype stays.
        pad: whether the rows that a short batch lacks are filled with zeros.
        skip: whether a record for which something is raised is left out, instead of ending the epoch.
        reading: how records are read.
        init: called once in every process that reads records, or None.
        hashed: whether every step gets a digest, for a ledger.
        cache: what keeps records as they come out of some of the stages, or None.
    """

    source: Source
    stages: tuple[Stage, ...]
    order: Order
    x64: bool | None = field(kw_only=True)
    pad: bool = field(default=False, kw_only=True)
    skip: bool = field(default=False, kw_only=True)
    reading: Reading = field(default=Reading(), kw_only=True)
    init: WorkerInit | None = field(default=None, kw_only=True)
    hashed: bool = field(default=False, kw_only=True)
    cache: Home | None = field(default=None, kw_only=True)

    def of_rank(self, rank: Rank) -> list[Stage]:
        """Its stages of one rank."""
        return [stage for stage in self.stages if stage.rank is rank]

    def draws_as(self, place: int) -> int:
        """The number that a stage's random numbers come of, by its place among the stages."""
        return place - sum(stage.asks_again for stage in self.stages[:place])

    @property
    def until_items(self) -> tuple[Stage, ...]:
        """Those of the stages that a record's items come of; none where there are no items."""
        last = max((place for place, stage in enumerate(self.stages) if stage.expands or stage.decides), default=-1)
        return self.stages[: last + 1]

    @property
    def rows(self) -> int:
        """Rows for which a batch needs room."""
        # A batch size above what there is gives one short batch; a slot need not be larger than that.
        return self.order.batch_size if self.pad else min(self.order.batch_size, max(self.order.places, 1))

    @property
    def user_code(self) -> bool:
        """Whether making a batch runs code that is not of this package."""
        return self.init is not None or runs_user_code(self.source, self.stages)


def named_parts(source: Any, stages: Sequence[Any]) -> dict[str, Any]:
    """The source and the stages, by the names that messages use."""
    named = {f"source ({type(source).__name__})": source}
    return named | {f"stages[{place}] ({stage.name})": stage for place, stage in enumerate(stages)}


def runs_user_code(source: Any, stages: Sequence[Any]) -> bool:
    """Whether making a batch runs code that is not of this package."""
    return SourceFacts.of(source).user_code or any(stage.user_code for stage in stages)
