"""Programs that take long to load are loaded once, in a process of which their workers are forked."""

from __future__ import annotations

import importlib
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from datarax_mp import Pipeline, WorkerError, WorkerTimeoutError
from datarax_mp.crews.processes import pool as pools
from datarax_mp.crews.processes.pool import pool

# Whether a process may be forked, /proc tells.
pytestmark = pytest.mark.needs("proc")


MODULE = """
import os, pathlib, signal, sys, threading, time
here = pathlib.Path(__file__).parent

def note(what):
    with open(here / what, "a") as file:
        print(os.getpid(), file=file)

note("imports")

class Source:
    def __init__(self, size=40):
        self.size = size
    def __len__(self):
        return self.size
    def __getitem__(self, number):
        return {"n": number, "pid": os.getpid(), "parent": os.getppid()}
    def __setstate__(self, state):
        self.__dict__ = state
        note("loads")
        self.loaded()
    def loaded(self):
        pass
"""


NUMBERS = itertools.count()


class Module:
    """A module that notes which processes import it.

    Args:
        folder: where it is written to.
        code: what comes after the source.
    """

    def __init__(self, folder: Path, code: str) -> None:
        self.folder, self.name = folder, f"heavy_{next(NUMBERS)}"
        folder.mkdir()
        (folder / f"{self.name}.py").write_text(MODULE + code)
        sys.path.insert(0, str(folder))
        self.module = importlib.import_module(self.name)
        self.forget()

    def source(self, *arguments: Any) -> Any:
        return self.module.Source(*arguments)

    def noted(self, what: str) -> list[int]:
        file = self.folder / what
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def forget(self) -> None:
        for what in ("imports", "loads"):
            (self.folder / what).unlink(missing_ok=True)


Make = Callable[..., Module]


@pytest.fixture
def module(tmp_path: Path) -> Iterator[Make]:
    """Makes modules; no worker has imported anything before or will have afterwards."""
    made: list[Module] = []

    def make(code: str = "") -> Module:
        made.append(Module(tmp_path / f"number{len(made)}", code))
        return made[-1]

    pool().close()
    yield make
    pool().close()
    for each in made:
        sys.path.remove(str(each.folder))
        sys.modules.pop(each.name, None)


def pipeline(source: Any, workers: int = 4, **more: Any) -> Pipeline:
    return Pipeline(source=source, batch_size=2, num_workers=workers, output="numpy", **more)


def served(pipeline: Pipeline) -> list[dict[str, int]]:
    """The records of an epoch."""
    return [{name: int(batch[name][row]) for name in batch} for batch in pipeline for row in range(batch.batch_size)]


def numbers(pipeline: Pipeline) -> list[int]:
    return [record["n"] for record in served(pipeline)]


def processes(kind: str) -> set[int]:
    """Those that are ours and live: "w" for workers, "t" for templates, "n" for nurseries."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        try:
            if process.name().startswith(f"datarax_mp {kind}") and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(true: Callable[[], bool]) -> None:
    """Wait for what has no event to wait for."""
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_module_is_imported_once_for_all_workers(module: Make) -> None:
    heavy = module()
    with pipeline(heavy.source()) as four:
        records = served(four)
        assert [record["n"] for record in records] == list(range(40))
        [template] = heavy.noted("imports")
        assert heavy.noted("loads") == [template]
        assert {record["parent"] for record in records} == {template}
        assert template not in {record["pid"] for record in records}  # no record is read in it
        assert processes("t") == {template}
        assert len(processes("w")) == 4


def test_the_stream_is_that_of_the_calling_process(module: Make) -> None:
    from flax import nnx

    source = module().source()
    with pipeline(source, 0, shuffle=True, rngs=nnx.Rngs(3)) as alone:
        expected = [numbers(alone) for _ in range(2)]
    with pipeline(source, 3, shuffle=True, rngs=nnx.Rngs(3)) as three:
        assert [numbers(three) for _ in range(2)] == expected


def test_what_every_worker_has_needs_no_template() -> None:
    with pipeline(list(range(40)), stages=[lambda record: {"n": record, "cube": float(record) ** 3}]) as light:
        numbers(light)
        assert processes("t") == set()


def test_one_worker_loads_its_program_itself(module: Make) -> None:
    heavy = module()
    with pipeline(heavy.source(), 1) as one:
        [worker] = {record["pid"] for record in served(one)}
        assert heavy.noted("imports") == [worker]
        assert processes("t") == set()


def test_workers_that_come_later_are_forked_of_it_too(module: Make) -> None:
    heavy = module()
    with pipeline(heavy.source()) as four:
        first = iter(four)
        next(first)
        second = iter(four)  # the workers of the first are lent
        next(second)
        until(lambda: len(processes("w")) == 8)  # they name themselves
        assert heavy.noted("imports") == heavy.noted("loads") == list(processes("t"))


def test_a_further_pipeline_finds_warm_workers_and_starts_no_process(module: Make) -> None:
    heavy = module()
    with pipeline(heavy.source(40)) as first:
        numbers(first)
        before = processes("w") | processes("t")
    for _ in range(3):
        with pipeline(heavy.source(60)) as further:
            assert numbers(further) == list(range(60))
        assert processes("w") | processes("t") == before
    assert len(heavy.noted("imports")) == 1


def test_workers_that_lack_a_module_are_left_to_others_that_do_not_need_it(module: Make) -> None:
    heavy = module()
    with pipeline(list(range(40)), stages=[lambda record: {"n": record}]) as light:
        numbers(light)
    light_ones = processes("w")
    with pipeline(heavy.source()) as four:
        assert light_ones.isdisjoint({record["pid"] for record in served(four)})
    assert len(heavy.noted("imports")) == 1


def test_a_program_that_needs_more_is_loaded_in_a_process_that_has_the_rest(module: Make) -> None:
    one, two = module(), module()

    further = two.module

    def stage(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "further": further.here is not None}

    with pipeline(one.source()) as first:
        numbers(first)
        with pipeline(one.source(), stages=[stage]) as second:
            assert numbers(second) == list(range(40))
        assert len(one.noted("imports")) == 1
        [template] = two.noted("imports")
        assert {template, *one.noted("imports")} == processes("t")
        assert numbers(first) == list(range(40))


def test_large_objects_are_unpickled_once(module: Make) -> None:
    names = [f"folder/{number}" for number in range(150_000)]

    def named(record: int) -> dict[str, Any]:
        return {"n": record, "length": len(names[record]), "parent": os.getppid()}

    pool().close()
    for _ in range(3):
        with pipeline(list(range(40)), stages=[named]) as large:
            records = served(large)
            assert [record["length"] for record in records] == [len(names[number]) for number in range(40)]
            assert {record["parent"] for record in records} <= processes("t")


def test_what_is_printed_while_a_program_is_loaded_is_printed_once(
    tmp_path: Path, run_script: Callable[..., Any]
) -> None:
    (tmp_path / "noisy.py").write_text(MODULE + "print('imported')\n")
    done = run_script(
        "import noisy\n"
        "from datarax_mp import Pipeline\n"
        "with Pipeline(source=noisy.Source(), batch_size=2, num_workers=4, output='numpy') as pipeline:\n"
        "    list(pipeline)\n"
    )
    assert done.stdout.split() == ["imported"] * 2  # by main, and by the template


def test_where_the_system_does_not_say_what_a_process_has_open_every_worker_loads_for_itself(
    module: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "can_tell", lambda: False)
    heavy = module()
    with pipeline(heavy.source()) as four:
        assert numbers(four) == list(range(40))
        assert processes("t") == set()
    assert len(heavy.noted("imports")) == 4


@pytest.mark.parametrize("workers", [2, 5])
def test_a_process_with_threads_is_not_forked(workers: int, module: Make, caplog: pytest.LogCaptureFixture) -> None:
    heavy = module("threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()")
    with caplog.at_level(logging.INFO, "datarax_mp"):
        with pipeline(heavy.source(), workers) as threaded:
            assert numbers(threaded) == list(range(40))
            assert processes("t") == set()
            assert len(heavy.noted("imports")) == len(processes("w")) == workers
        with pipeline(heavy.source(), workers + 1) as threaded:  # is not tried again
            assert numbers(threaded) == list(range(40))
    [message] = [message for message in caplog.messages if "forked" in message]
    assert "each worker loads the recipe for itself" in message
    assert "it has started threads (" in message


def test_a_file_that_a_source_opens_when_it_is_loaded_is_each_workers_own(module: Make) -> None:
    heavy = module("""
class Source(Source):
    def loaded(self):
        self.file = open(here / "data", "rb")
    def __getstate__(self):
        return {"size": self.size}
    def __del__(self):
        if hasattr(self, "file"):
            self.file.close()
    def __getitem__(self, number):
        self.file.seek(8 * number)
        time.sleep(0.0005)
        return {"n": int.from_bytes(self.file.read(8), "little")}
""")
    (heavy.folder / "data").write_bytes(b"".join(number.to_bytes(8, "little") for number in range(400)))
    with pipeline(heavy.source(400)) as four:
        assert numbers(four) == list(range(400))
    assert len(heavy.noted("imports")) == 1
    assert len(heavy.noted("loads")) == 5


def test_a_file_that_a_module_opens_is_a_reason_not_to_fork(module: Make, caplog: pytest.LogCaptureFixture) -> None:
    heavy = module("file = os.open(__file__, os.O_RDONLY)")
    with caplog.at_level(logging.INFO, "datarax_mp"), pipeline(heavy.source()) as four:
        assert numbers(four) == list(range(40))
    assert len(heavy.noted("imports")) == 4
    [message] = [message for message in caplog.messages if "forked" in message]
    assert f"it has left files open ({heavy.module.__file__})" in message
    os.close(heavy.module.file)


def test_an_error_while_a_program_is_loaded_is_that_error(module: Make) -> None:
    heavy = module("""
class Source(Source):
    def loaded(self):
        raise LookupError("no such thing")
""")
    with pipeline(heavy.source()) as four:
        for _ in range(2):
            with pytest.raises(LookupError, match="no such thing"):
                iter(four)
    assert processes("t") == set()


def test_a_load_that_takes_too_long_is_an_error_that_shows_where(module: Make) -> None:
    heavy = module("""
class Source(Source):
    def loaded(self):
        time.sleep(1000)
""")
    with pipeline(heavy.source(), timeout=5) as four, pytest.raises(WorkerTimeoutError, match="in loaded"):
        iter(four)
    until(lambda: processes("w") == set())


def test_close_ends_the_wait_for_a_load(module: Make) -> None:
    heavy = module("""
class Source(Source):
    def loaded(self):
        time.sleep(1000)
""")
    four = pipeline(heavy.source())
    done: list[Any] = []

    def wait() -> None:
        with pytest.raises(RuntimeError, match="closed") as caught:
            iter(four)
        done.append(caught)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: bool(heavy.noted("loads")))
    four.close()
    waiting.join(20)
    assert done
    until(lambda: processes("w") == set())


@pytest.mark.parametrize("busy", [False, True])
def test_a_template_that_is_killed_takes_its_workers_along_and_the_stream_does_not_show_it(
    busy: bool, module: Make, caplog: pytest.LogCaptureFixture
) -> None:
    heavy = module()
    with pipeline(heavy.source(400)) as four:
        assert numbers(four) == list(range(400))
        iterator = iter(four)
        received = [int(n) for n in next(iterator)["n"]] if busy else []
        [template], workers = processes("t"), processes("w")
        os.kill(template, signal.SIGKILL)
        until(lambda: not any(psutil.pid_exists(pid) for pid in {template, *workers}))  # zombies count
        received += [int(n) for batch in (iterator if busy else four) for n in batch["n"]]
        assert received == list(range(400))
        assert numbers(four) == list(range(400))
    assert all("died with its parent, the nursery," in message for message in caplog.messages)


def test_a_template_leaves_when_it_has_had_no_worker_for_a_while(module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "PARK_SECONDS", 2.0)
    heavy = module()
    with pipeline(heavy.source()) as four:
        numbers(four)
        until(lambda: not processes("w") | processes("t"))
        assert numbers(four) == list(range(40))
    assert len(heavy.noted("imports")) == 2


@pytest.mark.parametrize(("code", "workers"), [("", 4), ("        self.itself = self\n", 4), ("", 1)])
def test_the_memory_of_a_program_goes_back_when_its_pipeline_is_closed(code: str, workers: int, module: Make) -> None:
    heavy = module(f"""
import numpy
class Source(Source):
    def __init__(self):
        self.size, self.data = 40, numpy.zeros(5_000_000, numpy.uint8)
    def loaded(self):
        pass
{code}""")

    def mapped(pid: int) -> int:
        """Bytes of the largest block of shared memory."""
        maps = psutil.Process(pid).memory_maps(grouped=False)
        return max((m.size for m in maps if m.path.startswith(("/dev/shm", "/memfd"))), default=0)

    with pipeline(heavy.source(), workers) as some:
        numbers(some)
        ours = processes("w") | processes("t")
        assert len(ours) == (5 if workers == 4 else 1)
        assert all(mapped(pid) >= 5_000_000 for pid in ours)
    until(lambda: all(mapped(pid) < 5_000_000 for pid in ours))
    assert processes("w") | processes("t") == ours


DEATHS = {
    "SIGKILL(-9)": "os.kill(os.getpid(), signal.SIGKILL)",
    "SIGSEGV(-11)": "import ctypes; ctypes.string_at(0)",
    "exit code 0": "sys.exit(0)",
    "exit code 3": "os._exit(3)",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_death_while_a_program_is_loaded_is_blamed_on_it(
    death: str, module: Make, caplog: pytest.LogCaptureFixture
) -> None:
    heavy = module(f"""
class Source(Source):
    def loaded(self):
        {DEATHS[death]}
""")
    with pipeline(heavy.source()) as four, pytest.raises(WorkerError, match="to die there|have died there"):
        iter(four)
    assert f"{death} while it loaded the source and the stages" in caplog.messages[0]


@pytest.mark.parametrize("death", DEATHS)
def test_where_one_death_was_an_accident_the_others_load_for_themselves(death: str, module: Make) -> None:
    heavy = module(f"""
class Source(Source):
    def loaded(self):
        try:
            (here / "died").touch(exist_ok=False)
        except FileExistsError:
            return
        {DEATHS[death]}
""")
    with pipeline(heavy.source()) as four:
        assert numbers(four) == list(range(40))
        assert processes("t") == set()
        assert len(processes("w")) == 4


def test_when_the_nursery_is_killed_templates_and_their_workers_are_gone_and_the_next_epoch_works(
    module: Make,
) -> None:
    heavy = module()
    with pipeline(heavy.source()) as four:
        expected = numbers(four)
        iterator = iter(four)
        next(iterator)
        ours = processes("w") | processes("t")
        [nursery] = processes("n")
        os.kill(nursery, signal.SIGKILL)
        until(lambda: not ours & (processes("w") | processes("t")) and not any(map(lives, ours)))
        assert numbers(four) == expected


def test_a_fork_that_is_refused_is_an_error_and_leaves_nothing(module: Make) -> None:
    heavy = module("""
import errno
def fork(fork=os.fork):
    if (here / "refuse").exists():
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = fork
""")
    with pipeline(heavy.source()) as four:
        (heavy.folder / "refuse").touch()
        with pytest.raises(WorkerError, match="no worker process can be started"):
            iter(four)
        assert processes("w") == set()
        (heavy.folder / "refuse").unlink()
        assert numbers(four) == list(range(40))
        assert len(heavy.noted("imports")) == 1


def test_a_template_has_no_more_of_the_code_that_main_has_reloaded(module: Make) -> None:
    heavy = module("def answer(record):\n    return {'n': record['n'], 'answer': 1}\n")
    with pipeline(heavy.source(), stages=[heavy.module.answer]) as four:
        assert {record["answer"] for record in served(four)} == {1}
    file = heavy.folder / f"{heavy.name}.py"
    file.write_text(file.read_text().replace("'answer': 1", "'answer': 22"))
    importlib.reload(heavy.module)
    heavy.forget()
    with pipeline(heavy.source(), stages=[heavy.module.answer]) as four:
        assert {record["answer"] for record in served(four)} == {22}
    assert len(heavy.noted("imports")) == 1


def test_worker_init_runs_in_every_worker_and_not_in_the_template(module: Make) -> None:
    heavy = module(
        """
import datarax_mp
class Source(Source):
    def __getitem__(self, number):
        info = datarax_mp.worker_info()
        return {"index": info.index, "count": info.count}
def init():
    note("inits")
"""
    )
    with pipeline(heavy.source(), worker_init=heavy.module.init) as four:
        records = served(four)
        assert {record["count"] for record in records} == {4}
        assert {record["index"] for record in records} <= set(range(4))
        inits = heavy.noted("inits")
        assert len(set(inits)) == len(inits)
        assert set(inits) <= processes("w")


def test_forked_workers_draw_what_the_calling_process_draws(module: Make) -> None:
    heavy = module(
        """
import random
import numpy
class Source(Source):
    def __getitem__(self, number):
        return {"a": int(numpy.random.randint(1 << 30)), "b": random.randrange(1 << 30)}
"""
    )
    with pipeline(heavy.source(), 0) as alone, pipeline(heavy.source(), 3) as three:
        expected = served(alone)
        assert len({record["a"] for record in expected}) == len(expected)
        assert served(three) == expected
        assert len(heavy.noted("imports")) == 1


def test_what_a_forked_worker_logs_arrives_once(module: Make, caplog: pytest.LogCaptureFixture) -> None:
    heavy = module(
        """
import logging
class Source(Source):
    def __getitem__(self, number):
        logging.getLogger("heavy").warning("record %d", number)
        return {"n": number}
"""
    )
    with pipeline(heavy.source()) as four:
        list(four)
        assert len(heavy.noted("imports")) == 1
    told = [record.getMessage() for record in caplog.records if record.name == "heavy"]
    assert sorted(told) == sorted([f"record {number}" for number in range(40)] + ["record 0"])  # read for the layout
