"""The memory of a whole process tree: main process, nursery, workers.

    main                 the process asked about; it maps the source's segment and the ring
     |- nursery          forks the workers, so that what it has loaded is shared with all of them
     |  |- template      a worker that does so in its turn, once it has imported what a recipe needs
     |   |- worker ...   read the source's segment, write to the ring
     |- resource tracker Python's own, started with the first shared-memory block
     |- other            whatever else the program has started

The sum of all RSS counts memory that eight processes share eight times. Two numbers do not:

* USS, the pages that one process alone maps: what the system gets back when that process ends.
* PSS, USS plus every shared page divided by the number of processes that map it. Summed over the tree this is what the
  program uses, with every slot of the ring counted once. (Pages of Python's shared libraries count in part, where
  processes outside the tree map them too.)

A page of shared memory that only one process has touched so far counts as its USS: a worker's USS grows by the ring's
slots that it fills until main has looked at them.

/dev/shm is counted for the whole system, since its blocks have no owner: other programs' shared memory is part of it.

Everything is read by ``psutil`` from outside, so the processes take no part; but the kernel walks a process's pages to
answer, 0.3 ms for a worker and 2 ms for a main process of 1 GB, and holds up what wants to map memory meanwhile. A tree
with eight workers takes 10 to 20 ms. Sample a few times a second, not a thousand. PSS exists on Linux only; elsewhere
RSS stands in for it.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from datarax_mp.core.refusals import unless_refused

try:
    import psutil
except ImportError as error:
    raise ImportError(
        'datarax_mp.monitoring.memory needs psutil, which is not installed: pip install "datarax-mp[monitoring]"'
    ) from error

Role = Literal["main", "nursery", "template", "worker", "resource tracker", "other"]

_NURSERY = "datarax_mp.crews.processes.nursery"
_TEMPLATE = "datarax_mp t"  # as the process calls itself
_TRACKER = "multiprocessing.resource_tracker"


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """The memory of one process, in bytes.

    Attributes:
        pid: the process.
        role: what it does in the tree.
        uss: pages that no other process maps.
        pss: ``uss`` plus its part of the pages that others map, too.
        rss: all pages it maps, shared ones in full.
        shared: the part of ``rss`` that is backed by files or shared memory; 0 where the system does not say.
    """

    pid: int
    role: Role
    uss: int
    pss: int
    rss: int
    shared: int


@dataclass(frozen=True, slots=True)
class TreeMemory:
    """The memory of a process tree at one moment.

    Attributes:
        time: when, in seconds of ``time.monotonic()``, which is one clock for all processes.
        processes: the main process first, then its descendants, oldest first.
        shm: bytes in use in /dev/shm, by whomever; see ``shm_used``.
    """

    time: float
    processes: tuple[ProcessMemory, ...]
    shm: int

    @property
    def pss(self) -> int:
        """What the whole tree uses, in bytes; shared memory is counted once."""
        return sum(process.pss for process in self.processes)

    def of(self, role: Role) -> tuple[ProcessMemory, ...]:
        """The processes of one role."""
        return tuple(process for process in self.processes if process.role == role)

    def uss(self, role: Role) -> int:
        """The USS of all processes of one role together, in bytes."""
        return sum(process.uss for process in self.of(role))


def tree_memory(pid: int | None = None) -> TreeMemory:
    """Measure a process and all its descendants, once.

    Processes that end meanwhile are left out.

    Args:
        pid: the main process; None is the calling one.

    Raises:
        psutil.NoSuchProcess: the main process has ended.

    >>> tree = tree_memory()
    >>> main = tree.processes[0]
    >>> main.role, main.pid == os.getpid(), 0 < main.uss <= main.pss <= main.rss, tree.pss >= main.pss
    ('main', True, True, True)
    """
    main = psutil.Process(pid)
    found = [_process_memory(main, "main")]
    roles: dict[int, Role] = {main.pid: "main"}
    for process in main.children(recursive=True):
        try:
            parent = roles.get(process.ppid(), "other")
            roles[process.pid] = role = _role(process, parent)
            found.append(_process_memory(process, role))
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # it has ended, or has another owner
            continue
    return TreeMemory(time.monotonic(), tuple(found), shm_used())


def shm_used(directory: str = "/dev/shm") -> int:
    """Bytes in use in the file system of shared memory, blocks without a name included; 0 where there is none.

    >>> shm_used() >= 0, shm_used("/no/such/directory")
    (True, 0)
    """
    stat = unless_refused(lambda: os.statvfs(directory), None)
    return 0 if stat is None else (stat.f_blocks - stat.f_bfree) * stat.f_frsize


class Sampler:
    """Measures a process tree over and over, in a thread of its own, inside a ``with`` block.

    A sample is taken at the start, every ``interval`` seconds, at the end, and whenever ``sample`` is called. When the
    main process ends first, sampling ends with it.

    Args:
        interval: seconds from the end of one sample to the start of the next.
        pid: the main process; None is the calling one, whose memory the sampler then is a part of (some 0.3 kB per
            process and sample). Better to watch another process.

    Raises:
        ValueError: the interval is not positive.

    >>> with Sampler(interval=0.01) as sampler:
    ...     block = bytearray(1 << 24)
    >>> samples = sampler.samples
    >>> len(samples) >= 2, samples[-1].uss("main") - samples[0].uss("main") > 1 << 23
    (True, True)
    """

    def __init__(self, interval: float = 0.25, pid: int | None = None) -> None:
        if not interval > 0:
            raise ValueError(f"interval must be more than 0 seconds, got {interval!r}")
        self._interval = interval
        self._pid = os.getpid() if pid is None else pid
        self._samples: list[TreeMemory] = []
        self._lock = threading.Lock()  # so that samples are in order of time
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    @property
    def samples(self) -> tuple[TreeMemory, ...]:
        """What has been measured so far, oldest first."""
        return tuple(self._samples)

    def sample(self) -> TreeMemory:
        """Measure now, in the calling thread, and keep the result with the others.

        Raises:
            psutil.NoSuchProcess: the main process has ended.
        """
        with self._lock:
            tree = tree_memory(self._pid)
            self._samples.append(tree)
        return tree

    def __enter__(self) -> Sampler:
        """Take the first sample and start the thread.

        Raises:
            RuntimeError: the sampler has been used before.
            psutil.NoSuchProcess: there is no such process.
        """
        if self._thread is not None:
            raise RuntimeError("a Sampler works once; make a new one")
        self.sample()
        self._thread = threading.Thread(target=self._run, name="datarax_mp memory sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Take the last sample and end the thread.

        Raises:
            Exception: what went wrong in the thread.
        """
        assert self._thread is not None
        self._stop.set()
        self._thread.join()
        if self._error is not None and raised is None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._interval):
                self.sample()
            self.sample()
        except psutil.NoSuchProcess:
            pass  # the main process has ended, and with it what there was to measure
        except Exception as error:
            self._error = error


def _role(process: Any, parent: Role) -> Role:
    if parent in ("nursery", "template"):  # asked first: a worker, being forked, has the nursery's command line
        return "template" if process.name().startswith(_TEMPLATE) else "worker"
    if parent == "main":
        command = " ".join(process.cmdline())
        if _NURSERY in command:
            return "nursery"
        if _TRACKER in command:
            return "resource tracker"
    return "other"


def _process_memory(process: Any, role: Role) -> ProcessMemory:
    memory = process.memory_full_info()
    if not memory.rss:  # it has ended and waits for its parent to ask how
        raise psutil.ZombieProcess(process.pid)
    return ProcessMemory(
        pid=process.pid,
        role=role,
        uss=memory.uss,
        pss=getattr(memory, "pss", memory.rss),
        rss=memory.rss,
        shared=getattr(memory, "shared", 0),
    )
