"""What a stage is: what it takes, what has to come before it, whether it is random.

    RECORD   one record at a time, in the workers        MapElement, RandomMapElement, Filter, FlatMap
    PAD      makes rows of equal length of records       Pad
    BATCH    the stacked batch, in the workers           MapBatch, RandomMapBatch
    DEVICE   the batch on the device                     DeviceStage, RandomDeviceStage, ModuleStage

Ranks never fall from one stage to the next. A new kind is a class in a file of its own that says these things of
itself. What does the work asks a stage what it is, never of which class.
"""

from __future__ import annotations

import enum
import functools
from typing import Any, ClassVar

_OURS = "datarax_mp.stages."


class Rank(enum.IntEnum):
    """What a stage takes; stages of a lower rank come first."""

    RECORD = 0
    PAD = 1
    BATCH = 2
    DEVICE = 3


class Stage:
    """One stage of a pipeline, a frozen value.

    Attributes:
        rank: what it takes.
        random: whether it draws random numbers from the pipeline's seed.
        decides: whether it only says if a record stays.
        expands: whether it makes several records of one.
        asks_again: whether it is a filter of which the order knows what it says; it does not count where stages are
            numbered for what they draw.
    """

    __slots__ = ()

    rank: ClassVar[Rank]
    random: ClassVar[bool] = False
    decides: ClassVar[bool] = False
    expands: ClassVar[bool] = False
    asks_again: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """How messages and states call it: its kind and its function."""
        fn: Any = getattr(self, "fn", self)
        if members_of(self):
            return f"{type(self).__name__}({fn.called})"
        fn = getattr(fn, "__self__", fn)  # a Grain transform's bound method goes by its object
        return f"{type(self).__name__}({getattr(fn, '__name__', type(fn).__name__)})"

    @property
    def user_code(self) -> bool:
        """Whether it runs code that is not of this package."""
        fn: Any = getattr(self, "fn", None)
        if fn is None:
            return False
        if members := members_of(self):
            return any(member.user_code for member in members)
        while isinstance(fn, functools.partial):
            fn = fn.func
        owner = getattr(fn, "__self__", None)
        home = fn if owner is None else type(owner)
        module = getattr(home, "__module__", None) or type(fn).__module__
        return not str(module).startswith(_OURS)

    def check(self, where: str) -> None:
        """Make sure that it can work, as far as that shows before there is a record.

        Args:
            where: where it stands, for messages.

        Raises:
            TypeError: it needs a callable and has none.
        """
        fn = getattr(self, "fn", None)
        if hasattr(self, "fn") and not callable(fn):
            raise TypeError(f"{where}: {type(self).__name__} needs a callable, got {type(fn).__name__}")


def mixes_rows(stage: Any) -> bool:
    """Whether what becomes of a row depends on the others of its batch, as far as a stage of ours says so."""
    fn = getattr(stage, "fn", None)
    return getattr(fn, "mixes_rows", False) is True or any(map(mixes_rows, members_of(stage)))


def members_of(stage: Any) -> tuple[Any, ...]:
    """The stages that a combination is made of (see ``combine``); none if it is something else."""
    fn = getattr(stage, "fn", None)
    return fn.members if type(fn).__module__.startswith(f"{_OURS}combine") else ()  # type: ignore[union-attr]
