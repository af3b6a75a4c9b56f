"""The remote side of a worker: carries a recipe out, and sends what it has written along with its answer."""

from __future__ import annotations

import mmap
import os
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray

from datarax_mp.core.errors import EXITS, RemoteError
from datarax_mp.core.notes import add_note
from datarax_mp.core.refusals import note_shortage
from datarax_mp.core.strays import accept_all
from datarax_mp.crews.info import WorkerInfo, become
from datarax_mp.crews.ray.package import unpack
from datarax_mp.recipe.executor import Executor
from datarax_mp.recipe.lane_executor import executor_of
from datarax_mp.recipe.layouts import Layouts
from datarax_mp.recipe.recorder import Phase, Sighting, here, sighting
from datarax_mp.recipe.work import Done, Failed, Run, Written
from datarax_mp.shipping.load import Load


class Actor:
    """One worker. Ray calls all but ``look`` one after the other, in the order in which main asks."""

    def __init__(self) -> None:
        # Stages may import JAX; no worker needs a device. What the user has set for the cluster stands.
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        accept_all()
        self._executor: Executor | None = None
        self._block_bytes = 0
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._thread = 0

    def load(self, worker: WorkerInfo, search: Sequence[str], message: Load, *memories: np.ndarray) -> Failed | str:
        """Have a recipe, in place of another one; the answer is where this is.

        Modules are looked for here first, then where main looks for them: the folders may be there on this machine.
        """
        self._thread = threading.get_ident()
        become(worker)
        sys.path += [folder for folder in search if folder not in sys.path]
        here.phase(Phase.LOADING)
        if self._executor is not None:
            self._executor.user_code.leave()
            self._executor = None
        try:
            self._executor = executor_of(unpack(message, memories))
        except EXITS:
            os._exit(1)  # as a worker process ends, so that nobody takes it for an answer
        except BaseException as error:  # a panic in native code, say: main raises it
            return _failed(error)
        finally:
            here.handled()
        return f"process {os.getpid()} on node {ray.util.get_node_ip_address()}"

    def probe(self, epoch: int) -> Layouts | Failed:
        """Read the first record and see what a batch holds."""
        assert self._executor is not None
        try:
            return self._executor.probe(epoch)
        except EXITS:
            os._exit(1)  # as above
        except BaseException as error:  # as above
            return _failed(error)
        finally:
            here.handled()

    def settle(self, layouts: Layouts, run_bytes: int) -> None:
        """Write batches as the layouts say from now on; a run takes so many bytes at most."""
        assert self._executor is not None
        self._executor.settle(layouts)
        self._block_bytes = layouts.delivered.block_bytes
        if len(self._memory) < run_bytes:
            self._memory = mmap.mmap(-1, run_bytes)

    def perform(self, run: Run) -> tuple[Done | Failed, np.ndarray]:
        """Do a run; beside the answer come the bytes of its slot, which Ray copies before the next one is begun."""
        assert self._executor is not None
        try:
            # The clock of another machine says nothing here, so nobody looks closely.
            answer = self._executor.perform(run._replace(slot=0, closely=False), self._memory, 0, _packed)
        except EXITS:
            os._exit(1)  # as above
        finally:
            here.handled()
        if isinstance(answer, Done):
            answer = answer._replace(timed=None)
        return answer, np.frombuffer(self._memory, np.uint8, run.steps * self._block_bytes)

    @ray.method(concurrency_group="look")  # type: ignore[untyped-decorator]
    def look(self) -> tuple[Sighting, str]:
        """What it is at, and its Python stack; answered also while it works."""
        frame = sys._current_frames().get(self._thread)
        return sighting(here.line), "".join(traceback.format_stack(frame)) if frame is not None else "(it has none)"


def _failed(error: BaseException) -> Failed:
    note_shortage(error)
    return Failed(_packed(error), Written.nothing())


def _packed(error: BaseException) -> RemoteError:
    add_note(error, f"in Ray actor process {os.getpid()} on node {ray.util.get_node_ip_address()}")
    return RemoteError.of(error)


def remote(**options: Any) -> Any:
    """Start one, somewhere in the cluster, now or when there is room for it.

    Args:
        options: Ray's, for where it runs.
    """
    made = ray.remote(concurrency_groups={"look": 1})(Actor)
    return made.options(max_restarts=0, max_task_retries=0, scheduling_strategy="SPREAD", **options).remote()
