"""Which order a pipeline follows, where it stands in it, and the session that makes its batches.

    order of all records --filters, found out at first need--> order in force --> session
                                                                  ^
                              a state, elastic: grouped anew -----+

The order in force changes when filters leave other records than before, or when a state is set that groups them
differently. Then a new session takes the old one's place; iterators that still use that free it when they end.
"""

from __future__ import annotations

import dataclasses
import time
import weakref
from typing import Any

from datarax_mp.crews.auto.verdict import Decision
from datarax_mp.feed.timings import Timings
from datarax_mp.order import Order
from datarax_mp.order.left_out import NOTHING, LeftOut
from datarax_mp.order.reach import Reach
from datarax_mp.pipeline import state as states
from datarax_mp.pipeline.blueprint import Blueprint
from datarax_mp.pipeline.session import Resumed, Session
from datarax_mp.pipeline.state import Cursor, Position
from datarax_mp.pipeline.survivors import Survivors, survivors
from datarax_mp.recipe.layouts import Layouts


class Course:
    """See the module.

    Args:
        blueprint: all of the pipeline but its order.
        order: of all records, as if no filter left any out.

    Attributes:
        all: the order of all records, as if no filter left any out.
        next: where the next iterator begins.
        cursor: where the newest iterator is.
        left_out: steps that do not come.
    """

    next: Position
    cursor: Cursor
    left_out: LeftOut

    def __init__(self, blueprint: Blueprint, order: Order) -> None:
        self._blueprint, self.all = blueprint, order
        self._session: Session | None = None
        self._survivors: Survivors | None = None
        self.left_out = NOTHING
        if not blueprint.filters:
            self._begin(order)

    @property
    def source(self) -> Any:
        """What records are read from."""
        return self._blueprint.source

    @property
    def source_name(self) -> str:
        """What the source is called."""
        return self._blueprint.facts.name

    @property
    def timings(self) -> Timings:
        """How long everybody took, over all orders."""
        return self._blueprint.timings

    @property
    def decision(self) -> Decision:
        """What ``workers="auto"`` has come to."""
        return self._blueprint.decision

    @property
    def layouts(self) -> Layouts | None:
        """What batches hold, before and after the stages for batches; None before the first one."""
        return None if self._session is None else self._session.layouts

    @property
    def block_bytes(self) -> int:
        """Bytes of a batch's arrays; 0 before the first one."""
        return 0 if self._session is None else self._session.block_bytes

    @property
    def stage_names(self) -> list[str]:
        """The host stages, as whoever makes batches numbers them; none before the first one is needed."""
        return [] if self._session is None else self._session.stage_names

    @property
    def known(self) -> bool:
        """Whether it is known which records there are."""
        return self._session is not None

    @property
    def order(self) -> Order:
        """The order in force; with a filter it takes a pass over the source to know it, at first need."""
        self.prepare()
        return self._order

    def upcoming(self, reach: Reach) -> Position:
        """Where the next iterator begins: of streams without end, behind the epoch in which the newest one is."""
        at, following = self.cursor.at, self.next
        if reach.epochs is None and at is not following and at.epoch >= following.epoch:
            return Position(at.order, at.epoch + 1, 0)
        return following

    def prepare(self) -> Session:
        """What makes the batches of the order in force."""
        if self._session is None:
            self._filter()
        assert self._session is not None
        return self._session

    def renew(self, *, here: bool = False) -> None:
        """Before an iterator begins: what filters depend on may have changed since the last one did.

        Args:
            here: whether it begins where the newest one is, instead of at the next epoch.

        Raises:
            ValueError: it has, in the middle of an epoch.
        """
        if self._survivors is not None:
            self._filter(self.cursor.at if here else self.next)
        self.prepare()

    def session(self, order: Order) -> Session:
        """What makes the batches of an order that somebody has a position in; it is the one in force from now on."""
        session = self.prepare()
        if order is not self._order and order != self._order:
            self._net()  # closes the session; iterators that still use it free it when they end
            session = self._open(order)
            self._fingerprint = self._print(order)
        return session

    def _filter(self, at: Position | None = None) -> None:
        """Find out which records filters leave, unless that is known; what follows from it is set up anew."""
        began = time.perf_counter()
        found = survivors(self._blueprint.source, self._blueprint.config, last=self._survivors)
        self.timings.start.setdefault("filters", time.perf_counter() - began)
        before = self._survivors
        if self._session is not None and before is not None and before.same(found):
            self._survivors = found
            return
        order, epoch = self.all, 0
        if self._session is not None:
            order, epoch, step = self.next if at is None else at
            if step or order.first(epoch):
                raise ValueError(
                    "the source or a stage before the last Filter or FlatMap was changed in the middle of an epoch "
                    "that a state goes on with: its place means other records now. Change them between epochs"
                )
            self._net()  # closes the session; iterators that still use it free it when they end
        self._begin(dataclasses.replace(self._blueprint.among(self.all, found), seed=order.seed), epoch)
        self._survivors = found  # not before: what comes into the middle of this is followed by doing it again

    def _begin(self, order: Order, epoch: int = 0) -> None:
        """Set up everything that depends on how many records there are."""
        self._blueprint.check(order)
        self._fingerprint = self._print(order)
        self.next = Position(order, epoch, 0)
        self.cursor = Cursor(self.next)
        self._open(order)

    def _open(self, order: Order) -> Session:
        session = self._blueprint.open(order)
        net = weakref.finalize(self, Session.close, session)
        net.atexit = False
        self._session, self._order, self._net = session, order, net  # without a call in between
        return session

    def _print(self, order: Order) -> dict[str, Any]:
        return states.fingerprint(order, self._blueprint.facts.name, self._blueprint.config.stage_names)

    def dump(self, position: Position) -> dict[str, Any]:
        """A position, which there is only once it is known which records there are, as a state."""
        # An iterator may still follow an order that is not in force any more.
        known = position.order is self._order or position.order == self._order
        return states.dump(position, self._fingerprint if known else self._print(position.order), self.left_out)

    def resume(self, state: Any, elastic: bool) -> None:
        """Have the next iterator begin where a state was taken; ``elastic`` as in ``set_state``.

        Raises:
            TypeError: it is no state.
            ValueError: it belongs to another pipeline.
        """
        position = self._load(state, elastic)
        cursor = Cursor(position)
        self.next, self.cursor = position, cursor  # without a call in between

    def resume_iterator(self, state: Any, elastic: bool, cursor: Cursor, reach: Reach) -> Resumed:
        """The same for an iterator; if it is the newest one, the next one begins behind it.

        Args:
            state: the state.
            elastic: as in ``set_state``.
            cursor: the iterator's.
            reach: how far it goes.

        Raises:
            TypeError: it is no state.
            ValueError: it belongs to another pipeline.
        """
        position = self._load(state, elastic)
        session, reach = self.session(position.order), dataclasses.replace(reach, left_out=self.left_out)
        if self.cursor is cursor:
            self.next = position.behind(reach)
        return Resumed(session, position, reach)

    def _load(self, state: Any, elastic: bool) -> Position:
        self.prepare()
        position, left_out = states.load(state, self._fingerprint, self._order, elastic=elastic)
        if position.order != self._order:
            self._blueprint.check_rows(position.order)
        self.session(position.order)
        self.left_out = left_out
        return position

    def close(self, deadline: float) -> None:
        """Free what no iterator uses, when workers have finished what they are at; at the deadline they are killed."""
        if self._session is not None:
            self._session.finish(deadline)
            self._session.close()
        if (home := self._blueprint.home) is not None:
            home.close()
