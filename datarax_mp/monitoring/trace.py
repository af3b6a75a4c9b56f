r"""What main and all workers do, span by span, as a file that Perfetto and chrome://tracing read.

    worker   |- run ------------------------------------|
             |- step 4 -----------|- step 5 ------------|
             | read |stage|collate| read | ...
                 \
    main      waiting  \-> to the device    handing over    your step

One clock serves all processes of a machine (CLOCK_MONOTONIC), so nothing has to be aligned. An arrow goes from a step
in a worker to the moment at which main takes its batch, and from there to the user's step with it. While a trace is
made, every run is looked at closely (``recipe.watch``), and what was noted comes with its answer.

The format: "Trace Event Format", Google, 2016; complete events (X), flows (s, t, f) and metadata (M).
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from datarax_mp.core.exits import Turn, at_exit
from datarax_mp.feed.timings import Found, Steps
from datarax_mp.feed.window import Finished
from datarax_mp.monitoring.stats import part_names
from datarax_mp.recipe.recorder import part_of, record_of
from datarax_mp.recipe.watch import Marks, Part
from datarax_mp.recipe.work import Done, Run

_open: set[Trace] = set()


class Trace:
    """A trace that is being made.

    Args:
        path: where it is written when it is over.
        steps: after how many batches that the user is through with that is.
        stages: asked for the names of the host stages.
        over: called when it is over.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: str, steps: int, stages: Callable[[], Sequence[str]], over: Callable[[], None]) -> None:
        self._path = Path(path).absolute()  # the program may be in another folder when it is over
        self._left, self._stages, self._over = steps, stages, over
        self._events: list[dict[str, Any]] = []
        self._names: dict[Part, str] = {}
        self._threads: dict[tuple[int, int], str] = {}
        self._pid = os.getpid()
        self._path.write_text('{"traceEvents": []}')  # an error comes now, and not after an hour
        _open.add(self)

    def waiting(self, take: Callable[[], Found]) -> Found:
        """Wait for a run."""
        began = time.perf_counter_ns()
        with annotation("waiting"):
            finished = take()
        if isinstance(finished, Finished):
            run = finished.run
            self._main("waiting", began, epoch=run.epoch, step=run.step, steps=run.steps)
            if isinstance(finished.answer, Done) and finished.answer.timed is not None:
                timed = finished.answer.timed
                self._worker(timed.process, timed.thread, run, timed.marks, timed.seconds)
        return finished

    @contextlib.contextmanager
    def taking(self, steps: Steps) -> Iterator[None]:
        """Around bringing a batch to its place."""
        began = time.perf_counter_ns()
        with annotation("to the device"):
            yield
        self._main("to the device", began, **_place(steps))
        self._flow("t", steps, began)

    @contextlib.contextmanager
    def handing(self, steps: Steps) -> Iterator[None]:
        """Around handing a batch over."""
        began = time.perf_counter_ns()
        with annotation("handing over"):
            yield
        self._main("handing over", began, **_place(steps))

    def stepped(self, steps: Steps, seconds: float) -> None:
        """The user is through with a batch, after so many seconds."""
        began = time.perf_counter_ns() - int(seconds * 1e9)
        self._main("your step", began, **_place(steps))
        self._flow("f", steps, began)
        self._left -= len(steps)
        if self._left <= 0:
            self.finish()

    def finish(self) -> None:
        """Write the file, unless that has been done, or this is another process than that which has begun."""
        if self not in _open:
            return
        _open.discard(self)
        self._over()
        if os.getpid() != self._pid:
            return
        partial = self._path.with_name(f"{self._path.name}.part")
        with open(partial, "w", encoding="utf-8") as file:
            json.dump({"traceEvents": [*self._metadata(), *self._events], "displayTimeUnit": "ms"}, file)
        partial.replace(self._path)

    def _metadata(self) -> Iterator[dict[str, Any]]:
        processes = {self._pid: "main"} | {pid: "worker" for pid, _ in self._threads if pid != self._pid}
        for order, (pid, name) in enumerate(processes.items()):
            yield {"ph": "M", "name": "process_name", "pid": pid, "args": {"name": f"datarax_mp {name}"}}
            yield {"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": order}}
        for (pid, tid), name in self._threads.items():
            yield {"ph": "M", "name": "thread_name", "pid": pid, "tid": tid, "args": {"name": name}}

    def _main(self, name: str, began: int, **about: Any) -> None:
        tid = threading.get_native_id()
        self._threads.setdefault((self._pid, tid), threading.current_thread().name)
        self._span(name, self._pid, tid, began, time.perf_counter_ns(), about)

    def _span(self, name: str, pid: int, tid: int, began: int, ended: int, about: dict[str, Any]) -> None:
        span = {"ph": "X", "cat": "datarax_mp", "name": name, "pid": pid, "tid": tid}
        self._events.append({**span, "ts": began / 1000, "dur": max(ended - began, 0) / 1000, "args": about})

    def _flow(self, phase: str, steps: Steps, when: int) -> None:
        for epoch, step in steps:
            self._arrow(phase, epoch, step, self._pid, threading.get_native_id(), when)

    def _arrow(self, phase: str, epoch: int, step: int, pid: int, tid: int, when: int) -> None:
        arrow = {"ph": phase, "cat": "batch", "name": "batch", "id": f"{epoch}.{step}", "pid": pid, "tid": tid}
        self._events.append({**arrow, "ts": when / 1000, **({"bp": "e"} if phase == "f" else {})})

    def _worker(self, pid: int, tid: int, run: Run, marks: Marks, seconds: float) -> None:
        """The spans of a run: itself, its steps, and what they consist of."""
        if not marks:
            return
        self._threads.setdefault((pid, tid), f"worker {tid}")
        names = part_names(self._stages())
        ended = marks[-1][0]
        about = {"epoch": run.epoch, "step": run.step, "steps": run.steps}
        self._span("run", pid, tid, ended - int(seconds * 1e9), ended, about)
        steps = [(when, ~value) for when, value in marks if value < 0]
        for (when, step), (until, _) in zip(steps, [*steps[1:], (ended, 0)], strict=True):
            self._span(f"step {step}", pid, tid, when, until, {"epoch": run.epoch, "step": step})
            self._arrow("s", run.epoch, step, pid, tid, when)
        for place, (when, value) in enumerate(marks[:-1]):
            if value > 0 and marks[place - 1][1] >= 0 and (name := names.get(part_of(value))) is not None:
                record = record_of(value)
                self._span(name, pid, tid, when, marks[place + 1][0], {} if record < 0 else {"record": record})


def _place(steps: Steps) -> dict[str, int]:
    (epoch, step), count = steps[0], len(steps)
    return {"epoch": epoch, "step": step, "steps": count} if count > 1 else {"epoch": epoch, "step": step}


def annotation(name: str) -> contextlib.AbstractContextManager[Any]:
    """What makes a span show in JAX's own profiles, if this process has JAX's profiler."""
    profiler = sys.modules.get("jax.profiler")
    return contextlib.nullcontext() if profiler is None else profiler.TraceAnnotation(f"datarax_mp: {name}")


@at_exit(Turn.ITERATORS)
def _finish_all() -> None:
    """A program that ends before all steps were made has a trace of those that were."""
    for trace in list(_open):
        trace.finish()
