"""MixSource: records of several sources, in proportions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from numbers import Real
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from datarax_mp.core.integers import integer
from datarax_mp.core.record import VALUE_FIELD, RecordError, fields_of
from datarax_mp.order import Mixing
from datarax_mp.order.mixing import Stop
from datarax_mp.order.spans import Schedule
from datarax_mp.sources.chain import Chain
from datarax_mp.sources.concat import plain_sources
from datarax_mp.sources.facts import SaysFacts, SourceFacts
from datarax_mp.sources.together import Found, checked_numbers, one_number, read_of_several

Weights: TypeAlias = Mapping[str, float] | Sequence[float]


class MixSource(SaysFacts):
    """A mixture of sources by weight, without a buffer, a process or a thread for any of them.

    After any number of records each source has given its share of them to within less than one record. Each source has
    epochs of its own: it is read through, shuffled anew, before one of its records comes again. The mixture's record n
    is a formula, so that any place of it is found at once, in every worker and after a restart.

    * ``stop="repeat"``: it has no end. An epoch is as many records as all sources have together, and the next one goes
      on where it ended.
    * ``stop="first"``: an epoch ends with the first source that ends; the next one begins with all of them anew.
    * ``stop="last"``: a source that ends is left out, the others go on by their weights, until all have ended. So an
      epoch has every record once.

    As a source, with ``len`` and by number, it is all records of the first source, then those of the second, and so on;
    weights say what a pipeline makes of that. With ``shuffle=True`` a pipeline shuffles each source by itself, with
    ``shuffle=False`` none, and by default those that are a ``MemorySource`` whose config says so.

    Args:
        sources: whatever a ``Pipeline`` takes, each, by name; or a list of them, whose names are "0", "1", ...
        weights: how much of each, by the same names or in the same order: in proportion to each other. Shares are exact
            where the weights are whole numbers, or fractions and decimals, that add up to at most 262,144 in lowest
            terms; others are rounded to that many parts.
        schedule: ``(record, weights)`` pairs, by records of the mixture, ascending: weights that hold from there on. If
            the first one is for record 0, it takes the place of ``weights``. Where epochs begin anew (``stop`` is not
            "repeat"), so does the schedule.
        stop: what happens when a source ends.
        defaults: values of fields that not all sources have, for those that lack them; an array of the dtype and shape
            that the field has elsewhere, or text.
        tag: the field that names a record's source, a text, in ``batch.info``; None adds none.

    Raises:
        TypeError: a source is none, or a weight is no number.
        ValueError: weights are negative, all 0, or not those of the sources; the schedule does not ascend.
        RecordError: from ``[]``; a record has a field of the tag's name, or is a tuple that has no names to add to.

    >>> mixture = MixSource({"code": {"x": [1, 2]}, "web": {"x": [10, 20, 30]}}, {"code": 1, "web": 2})
    >>> len(mixture), mixture[2]["x"].tolist(), mixture[2]["source"]
    (5, 10, 'web')
    """

    def __init__(
        self,
        sources: Mapping[str, Any] | Sequence[Any],
        weights: Weights | None = None,
        schedule: Sequence[tuple[int, Weights]] | None = None,
        stop: Literal["repeat", "first", "last"] = "repeat",
        defaults: Mapping[str, Any] | None = None,
        tag: str | None = "source",
    ) -> None:
        named = sources if isinstance(sources, Mapping) else {str(n): source for n, source in enumerate(sources)}
        self.names = tuple(map(str, named))
        self.sources = plain_sources(list(named.values()), "MixSource", own_choice=True)
        if stop not in get_args(Stop):
            raise ValueError(f"stop must be 'repeat', 'first' or 'last', got {stop!r}")
        self.stop: Stop = stop
        self.schedule = _schedule(weights, schedule, self.names)
        self.defaults = dict(defaults or {})
        self.tag = tag
        self._chain = Chain([len(source) for source in self.sources])
        self.choice(None)  # what cannot be mixed is an error now

    def __len__(self) -> int:
        """How many records all sources have together."""
        return len(self._chain)

    def __getitem__(self, number: int) -> Any:
        """One record, by its number among those of all sources.

        Raises:
            IndexError: there is no such record.
            RecordError: it cannot be told its source's name.
        """
        place, own = self._chain.find_one(one_number(number, len(self)))
        return self._completed(place, self.sources[place][own])

    def __getitems__(self, numbers: list[int]) -> Found:
        """Several records, as columns where all sources have such."""
        owners, own = self._chain.find(checked_numbers(numbers, len(self)))
        return read_of_several(self.sources, owners, own, self._completed, self._completed_all)

    def facts(self) -> SourceFacts:
        """What a pipeline has to know of it."""
        return SourceFacts.of_several("MixSource", self.sources, self.choice)

    def choice(self, shuffle: bool | None) -> Mixing:
        """Which record of the mixture is which of these; of None each source is shuffled if it says so itself.

        Raises:
            ValueError: with ``stop="last"``, a source has no weight and records left.
        """
        parts = [SourceFacts.of(source).choice(len(source), shuffle) for source in self.sources]
        return Mixing.of(parts, self._chain.begins.tolist(), self.names, self.schedule, self.stop)

    def _completed(self, place: int, record: Any) -> Any:
        """A record with what it lacks."""
        if self.tag is None and not self.defaults:
            return record
        fields = record if isinstance(record, Mapping) else fields_of(record)
        if fields is None:
            if isinstance(record, (tuple, list)):
                raise RecordError(
                    f"a record of source '{self.names[place]}' is a {type(record).__name__}, of items without names; "
                    "MixSource cannot add fields to it. Make it a dict, or give tag=None and no defaults"
                )
            fields = {VALUE_FIELD[0]: record}
        if self.tag is None:
            return {**self.defaults, **fields}
        self._check_tag(place, fields)
        return {**self.defaults, **fields, self.tag: self.names[place]}

    def _completed_all(self, place: int, columns: dict[str, Any], rows: int) -> dict[str, Any]:
        """Columns of records of one source with what they lack."""
        whole = dict(columns)
        for name, value in self.defaults.items():
            if name not in whole:
                array = isinstance(value, (np.ndarray, np.generic, int, float))
                whole[name] = np.broadcast_to(value, (rows, *np.shape(value))) if array else [value] * rows
        if self.tag is not None:
            self._check_tag(place, columns)
            whole[self.tag] = [self.names[place]] * rows
        return whole

    def _check_tag(self, place: int, fields: Mapping[str, Any]) -> None:
        if self.tag in fields:
            raise RecordError(
                f"records of source '{self.names[place]}' have a field '{self.tag}', by which MixSource names their "
                "source: give another tag=, or None"
            )


def _schedule(weights: Weights | None, schedule: Any, names: Sequence[str]) -> Schedule:
    given: list[tuple[Any, Any]] = [] if weights is None else [(0, weights)]
    for item in schedule or ():
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            raise ValueError(f"schedule must hold (record, weights) pairs, found {item!r}")
        given.append((integer("a record of the schedule", item[0], least=0), item[1]))
    if not given or given[0][0] != 0:
        raise ValueError(
            "nothing says how much of each source there is at record 0: give weights=, or begin schedule= there"
        )
    for (before, _), (after, _) in itertools.pairwise(given):
        if after <= before:
            twice = ": weights= holds from record 0, so give either weights= or a schedule that begins there"
            raise ValueError(
                f"the schedule must ascend, and found record {after} behind record {before}{'' if after else twice}"
            )
    return tuple((record, _weights(of, names)) for record, of in given)


def _weights(given: Any, names: Sequence[str]) -> tuple[Fraction, ...]:
    if isinstance(given, Mapping):
        if set(given) != set(names):
            raise ValueError(f"weights must be given for each source, {list(names)}; found {list(given)}")
        values = [given[name] for name in names]
    else:
        values = list(given)
        if len(values) != len(names):
            raise ValueError(f"weights must be as many as sources, {len(names)}; found {len(values)}")
    for name, value in zip(names, values, strict=True):
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
            raise TypeError(f"the weight of source '{name}' must be a number, got {value!r}")
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"the weight of source '{name}' must be at least 0 and finite, got {value}")
    if not any(values):
        raise ValueError("the weights are all 0; expected at least one source to have a share")
    return tuple(Fraction(value if isinstance(value, (int, Fraction)) else float(value)) for value in values)
