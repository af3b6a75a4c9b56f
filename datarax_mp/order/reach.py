"""How far one stream goes: to the end of an epoch, over several of them, for ever; and what of it is left out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from datarax_mp.order.epoch import Epoch
from datarax_mp.order.left_out import NOTHING, LeftOut
from datarax_mp.order.steps import Order


class Leg(NamedTuple):
    """Consecutive steps of one epoch: ``[start, stop)``, at least one."""

    epoch: Epoch
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What comes from a position on.

    Attributes:
        epochs: a stream ends where so many epochs, counted from epoch 0, are over, and wherever so many more are;
            None is nowhere. So a position alone says where it ends.
        steps: at most so many steps, within the first epoch; None is all.
        left_out: steps that do not come.

    >>> from datarax_mp.order.sequential import Sequential
    >>> order = Order(Sequential(10), batch_size=4)
    >>> legs = Reach(epochs=2, left_out=LeftOut(((1, 1, 2),))).legs(order, epoch=0, step=1)
    >>> [(leg.epoch.number, leg.start, leg.stop) for leg in legs]
    [(0, 1, 3), (1, 0, 1), (1, 2, 3)]
    """

    epochs: int | None = 1
    steps: int | None = None
    left_out: LeftOut = NOTHING

    def end(self, epoch: int) -> int | None:
        """The epoch before which a stream ends that begins in this one; None if it does not."""
        return None if self.epochs is None else (epoch // self.epochs + 1) * self.epochs

    def legs(self, order: Order, epoch: int, step: int) -> Iterator[Leg]:
        """The steps from a position on. Without an end it goes on for ever, unless an epoch has no step at all."""
        end = self.end(epoch)
        while end is None or epoch < end:
            one = Epoch(order, epoch)
            steps = one.steps
            if not steps and end is None:
                return
            stop = steps if self.steps is None else min(steps, step + self.steps)
            for first, last in self.left_out.kept(epoch, step, stop):
                yield Leg(one, first, last)
            epoch, step = epoch + 1, 0
