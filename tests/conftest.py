"""Settings and helpers shared by all tests."""

from __future__ import annotations

import gc
import os
import re
import runpy

# Before JAX is imported: several devices, so that sharding is tested for real on the CPU backend.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cloudpickle
import psutil
import pytest
from hypothesis import settings

from tests.machine import without_the_machine

if TYPE_CHECKING:
    from datarax_mp.ring import Ring

REFUSED = set(os.environ.get("DATARAX_MP_TEST_REFUSED", "").split(","))

# Set by ``refuse.py``, which has put /proc there: what follows runs without one, and only the tests look at this.
if "DATARAX_MP_TEST_PROC" in os.environ:
    psutil.PROCFS_PATH = os.environ["DATARAX_MP_TEST_PROC"]
    if os.path.exists("/proc/self"):
        refuse = runpy.run_path(str(Path(__file__).with_name("refuse.py")))
        refuse["hide_proc"]()

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("ci")


_REMOVED_SECONDS = 20
LONG = {"test_examples.py", "test_global_arrays.py", "test_scripts.py", "test_keras.py"}
OWNED = re.compile(r"datarax_mp-[0-9]+-([0-9]{1,9})-[0-9]*-[0-9]+")


def _left() -> set[str]:
    """Names in shared memory of this process or of a dead one; those of others come and go within microseconds."""
    names = {name for name in os.listdir("/dev/shm") if name.startswith("datarax_mp")}
    owners = {name: int(found[1]) for name in names if (found := OWNED.fullmatch(name))}
    return {name for name, pid in owners.items() if pid == os.getpid() or not psutil.pid_exists(pid)}


@pytest.fixture(autouse=True)
def _leaves_nothing_in_shared_memory() -> Iterator[None]:
    before = _left()
    yield
    # Programs that tests beside these have killed leave names for a moment, until their nursery has removed them.
    deadline = time.monotonic() + _REMOVED_SECONDS
    while not (left := _left()) <= before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left <= before


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run code as a script in a fresh interpreter in which every warning is an error."""

    def run(code: str, *, stdin: bool = False, check: bool = True, seconds: float = 200) -> subprocess.CompletedProcess:
        script = tmp_path / "script.py"
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-" if stdin else str(script)],
            input=code if stdin else None,
            capture_output=True,
            text=True,
            timeout=seconds,
            cwd=tmp_path,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr
            assert without_the_machine(done.stderr.splitlines()) == []
        return done

    return run


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[Ring]:
    """The rings that are made from now on."""
    from datarax_mp.ring import Ring

    made: list[Ring] = []
    init = Ring.__init__

    def note(ring: Ring, *args: int, **options: bool) -> None:
        init(ring, *args, **options)
        made.append(ring)

    monkeypatch.setattr(Ring, "__init__", note)
    return made


class Family:
    """The processes that descend from one that a test starts with ``env``, whoever their parent is by now."""

    def __init__(self) -> None:
        self._mark = str(uuid.uuid4())
        self.env = {**os.environ, "DATARAX_MP_TEST": self._mark}

    def alive(self) -> list[psutil.Process]:
        """Those that have not ended; process 1 may take its time to reap those that have."""
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get("DATARAX_MP_TEST") == self._mark
                if marked and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def gone_within(self, seconds: float) -> bool:
        """Wait until all have ended."""
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@pytest.fixture
def family() -> Family:
    """Knows the processes of one program."""
    return Family()


@pytest.fixture(scope="session")
def control_group() -> Iterator[Callable[[int], Path]]:
    """Make control groups with so many bytes of memory; a test that needs one is skipped where none can be made."""
    made: list[Path] = []

    def make(size: int) -> Path:
        for mount, limit, swap, swapped in (
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", size),  # of both together
            ("/sys/fs/cgroup", "memory.max", "memory.swap.max", 0),
        ):
            group = Path(mount) / f"datarax_mp-test-{os.getpid()}-{len(made)}"
            try:
                group.mkdir()
                made.append(group)
                (group / limit).write_text(str(size))
                if (group / swap).exists():  # or what is too much is swapped, and nobody is refused or killed
                    (group / swap).write_text(str(swapped))
            except OSError:
                continue
            return group
        pytest.skip("needs the right to make control groups")

    yield make
    for group in made:
        for _ in range(100):  # a process leaves its group a little after its parent knows that it has ended
            try:
                group.rmdir()
                break
            except OSError:
                time.sleep(0.05)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out tests of what the system refuses just now."""
    for mark in item.iter_markers("needs"):
        if missing := REFUSED.intersection(mark.args):
            pytest.skip(f"{', '.join(sorted(missing))} refused")


def pytest_collection_finish() -> None:
    """What has been imported stays: no collection looks at it again. Each would take 0.4 s, and tests ask for many."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first; functions of test modules are sent to workers by value, as those of a script are.

    With pytest-xdist nobody is left with a long one at the end. And importing a test module imports JAX.
    """
    items.sort(key=lambda item: item.path.name not in LONG)
    for module in {item.getparent(pytest.Module) for item in items}:
        if module is not None:
            cloudpickle.register_pickle_by_value(module.obj)
