"""A worker that has become another nursery: it has loaded a recipe, and workers are forked of it.

    main process                     nursery             template               worker
    ------------                     -------             --------               ------
    Fork                      ---->    fork()     ---->  a worker, as any
    Load, as a template       ------------------------>  imports, unpickles
                              <------------------------  Loaded, with its fitness
    BecomeTemplate, with control  -------------------->  a nursery, as any
    Fork                      ------------------------>    fork()       ---->   serve(channel)
    Load                      ----------------------------------------------->  finds the recipe in its memory

A recipe that needs torch costs each process that imports it for itself a second and 140 MB; forked of one that has, a
worker costs 5 ms and 5 MB. The same is true of a source with a million file names. What must not be forked
(``forking``) goes the usual way: every worker imports and unpickles for itself.

A template keeps its modules, and the first recipe that it has loaded until main forgets that; workers load other
recipes for themselves. It leaves when it has had no worker for a while.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from datarax_mp.core.descriptors import connection, identity
from datarax_mp.core.edits import last_code_version
from datarax_mp.core.errors import WorkerError
from datarax_mp.core.refusals import unless_refused
from datarax_mp.crews.processes.nursery_protocol import Unload
from datarax_mp.crews.processes.protocol import BecomeTemplate, Fitness
from datarax_mp.crews.processes.spawner import NurseryLostError, Spawner
from datarax_mp.crews.processes.worker import Worker
from datarax_mp.shipping.need import Need

_MOST = 2  # beside the nursery


class Template(Spawner):
    """Main's end of a template.

    Args:
        nursery: what its process was forked by; the board and its lines are shared.
        worker: the process.
        need: what it has loaded.
        fitness: what it said about itself.
        seconds: how long it stays without workers.

    Attributes:
        nursery: as given.
        code: the version of the code that its workers have (see ``core.edits``).

    Raises:
        OSError: there can be no further descriptor.
    """

    def __init__(self, nursery: Spawner, worker: Worker, need: Need, fitness: Fitness, seconds: float) -> None:
        self.modules, self.code = fitness.modules, worker.code
        self.recipe_id = need.recipe_id if fitness.inherits else None
        self.large = need.large
        self.nursery, self._worker = nursery, worker
        self._begin(nursery._lines, nursery._pids)
        self._board = nursery._board
        self._control, theirs = connection()
        self._control_known = identity(self._control.fileno())
        with theirs:
            worker.tell(BecomeTemplate(seconds), (theirs.fileno(),))

    def serves(self, need: Need) -> bool:
        """Whether its workers have at once what takes long to load."""
        return self.fresh() and need.modules <= self.modules and (not need.large or self.recipe_id == need.recipe_id)

    def fresh(self) -> bool:
        """Whether main still has the code that it has imported."""
        return self.code == last_code_version()

    def carries(self, home: Spawner) -> bool:
        """Whether that one ends when this one does."""
        return home is self or (isinstance(home, Template) and self.carries(home.nursery))

    def unload(self) -> None:
        """Have it forget its recipe."""
        recipe_id, self.recipe_id = self.recipe_id, None
        if recipe_id is not None:
            unless_refused(partial(self._ask, Unload(recipe_id)), None)  # it has left, or does not react

    def alive(self) -> bool:
        """Whether its process lives."""
        return not self._worker.ended() and identity(self._control.fileno()) == self._control_known

    def close(self) -> None:
        """End it, and its workers with it."""
        self._let_go()
        self._worker.kill()

    def abandon(self) -> None:
        """In a forked child: let go of what belongs to the parent, without a word to anybody."""
        self._let_go()
        self._worker.close()

    def _no_start(self) -> WorkerError:
        return NurseryLostError("the process that workers are forked of has ended, or does not react")

    def _stopped(self) -> bool:
        return False  # not a child of ours: only its silence tells

    def _kill(self) -> None:
        self._worker.end()


class Templates:
    """Those of this interpreter, and what it has learnt about making them."""

    def __init__(self) -> None:
        self._all: list[Template] = []
        self._unfit: list[frozenset[str]] = []  # a process that has imported these cannot be forked
        self._alone: set[frozenset[str]] = set()  # recipes that need these are not to be inherited

    def living(self) -> list[Template]:
        """Drop those that have left; return the others."""
        for template in self._all.copy():
            if not template.alive():
                self.drop(template)
        return self._all

    def attainable(self, need: Need) -> Need:
        """What is left of a need when that is taken away which cannot be shared."""
        if any(unfit <= need.modules for unfit in self._unfit):
            return replace(need, modules=frozenset(), large=False)
        return replace(need, large=need.large and need.modules not in self._alone)

    def serve(self, need: Need) -> bool:
        """Whether there is one that serves it."""
        return any(template.serves(need) for template in self.living())

    def origin(self, need: Need, nursery: Spawner) -> Spawner:
        """Who has most of what is needed."""
        spawners: list[Spawner] = [nursery, *(template for template in self.living() if template.fresh())]
        return max(spawners, key=lambda one: (one.recipe_id == need.recipe_id, len(need.modules & one.modules)))

    def make_room(self, lent: Iterable[Spawner]) -> bool:
        """Whether there may be one more. If need be, one goes on which none of these hangs, the homes of workers."""
        homes = [*lent, *(template.nursery for template in self.living())]
        if len(self._all) >= _MOST:
            for template in [one for one in self._all if not any(one.carries(home) for home in homes)][:1]:
                self.drop(template)
        return len(self._all) < _MOST

    def add(self, template: Template) -> None:
        """Have one more."""
        self._all.append(template)

    def drop(self, template: Template) -> None:
        """End one, and its workers."""
        self._all.remove(template)
        template.close()

    def note(self, need: Need, fitness: Fitness) -> None:
        """Learn from what came of loading a recipe."""
        if fitness.trouble and need.modules:
            self._unfit.append(need.modules)
        elif fitness.trouble or not fitness.inherits:
            self._alone.add(need.modules)

    def unload(self, recipe_id: int) -> None:
        """Have a recipe forgotten."""
        for template in self.living():
            if template.recipe_id == recipe_id:
                template.unload()

    def close(self) -> None:
        """End all."""
        while self._all:
            self.drop(self._all[-1])

    def abandon(self) -> None:
        """In a forked child: see ``Template.abandon``."""
        while self._all:
            self._all.pop().abandon()
