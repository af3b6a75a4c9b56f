"""ConcatSource: the records of several sources, one source behind the other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from datarax_mp.sources.adapt import Source, as_source
from datarax_mp.sources.chain import Chain
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.together import Found, checked_numbers, one_number, read_of_several


class ConcatSource(SaysFacts):
    """All records of several sources, counted through: those of the first one come first.

    It shuffles if one of them does, over all of them together. Records must have the same fields.

    Args:
        sources: whatever a ``Pipeline`` takes, each.

    Raises:
        TypeError: one of them is no source.
        ValueError: there is none, one is empty, or one serves only a part of its records or chooses them itself.

    >>> both = ConcatSource([{"x": [1, 2]}, {"x": [3]}])
    >>> len(both), both[2]["x"].tolist(), both.__getitems__([2, 0])["x"].tolist()
    (3, 3, [3, 1])
    """

    def __init__(self, sources: Iterable[Any]) -> None:
        self.sources = plain_sources(list(sources), "ConcatSource")
        self._chain = Chain([len(source) for source in self.sources])

    def __len__(self) -> int:
        """How many records all of them have."""
        return len(self._chain)

    def __getitem__(self, number: int) -> Any:
        """One record.

        Raises:
            IndexError: there is no such record.
        """
        place, own = self._chain.find_one(one_number(number, len(self)))
        return self.sources[place][own]

    def __getitems__(self, numbers: list[int]) -> Found:
        """Several records, as columns where all sources have such."""
        return read_of_several(self.sources, *self._chain.find(checked_numbers(numbers, len(self))))

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        return SourceFacts.of_several("ConcatSource", self.sources)


def plain_sources(sources: list[Any], owner: str, *, own_choice: bool = False) -> list[Source]:
    """Sources to make another one of.

    Args:
        sources: what the user gave.
        owner: who takes them, for messages.
        own_choice: whether they may choose their records themselves.

    Raises:
        TypeError: one of them is no source.
        ValueError: there is none, one is empty, or one serves only a part of its records or chooses them itself.
    """
    if not sources:
        raise ValueError(f"{owner} needs at least one source")
    found = [as_source(source) for source in sources]
    for place, source in enumerate(found):
        facts = SourceFacts.of(source)
        if facts.shards > 1:
            raise ValueError(
                f"source {place} of {owner} serves part {facts.shard_id} of {facts.shards} of its records alone. Leave "
                "num_workers out of its config, and give the pipeline shard=ShardOptions(index, count)"
            )
        if facts.choose is not None and not own_choice:
            raise ValueError(
                f"source {place} of {owner} is a {type(source).__name__}, which says itself which records an epoch "
                f"has; {owner} would lose that. Make it of a {owner} instead"
            )
    return found
