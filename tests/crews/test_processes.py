"""What worker processes are like: light, warm, and gone when nobody needs them."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil
import pytest

from datarax_mp import Pipeline
from datarax_mp.crews.processes.pool import Pool, pool
from datarax_mp.crews.processes.spawner import Spawner
from datarax_mp.crews.processes.worker import Worker
from datarax_mp.ring import names
from datarax_mp.shipping.need import Need
from tests.processes import all_end, kill, lives, nursery, own_memory, workers


def report(record: Any) -> dict[str, Any]:
    import threading

    heavy = ("jax", "flax", "torch", "multiprocessing.shared_memory")
    return {
        "pid": os.getpid(),
        "heavy": sum(name in sys.modules for name in heavy),
        "threads": threading.active_count(),
        "cuda": len(os.environ["CUDA_VISIBLE_DEVICES"]),
        "cpu": int(os.environ["JAX_PLATFORMS"] == "cpu"),
        "blas": int(os.environ["OPENBLAS_NUM_THREADS"]),
        "value": record,
    }


def pids(pipeline: Pipeline) -> set[int]:
    return {int(pid) for batch in pipeline for pid in batch["pid"]}


def make(workers: int = 2, **more: Any) -> Pipeline:
    return Pipeline(source=np.arange(400), batch_size=2, num_workers=workers, stages=[report], output="numpy", **more)


@pytest.mark.needs("prctl")  # a thread does its work where it is refused
def test_a_worker_imports_numpy_and_nothing_heavy_and_sees_no_accelerator() -> None:
    pool().close()  # fresh workers: others may have imported what other tests need
    with make() as pipeline:
        for batch in pipeline:
            assert batch["heavy"].tolist() == [0, 0]
            assert batch["threads"].tolist() == [1, 1]
            assert batch["cuda"].tolist() == [0, 0]
            assert batch["cpu"].tolist() == [1, 1]
            assert batch["blas"].tolist() == [1, 1]


def test_importing_the_workers_half_imports_no_jax(run_script: Callable[..., Any]) -> None:
    run_script(
        "import sys\n"
        "import datarax_mp, datarax_mp.crews.processes.nursery, datarax_mp.order, datarax_mp.ring, datarax_mp.sources\n"
        "import datarax_mp.stages.kinds, datarax_mp.core.spec, datarax_mp.recipe.executor\n"
        "import datarax_mp.crews.processes.pool, datarax_mp.crews.processes.crew\n"
        "assert not {'jax', 'flax', 'jaxlib'} & set(sys.modules)\n"
        "from datarax_mp import Pipeline\n"
        "assert not {'jax', 'flax', 'jaxlib'} & set(sys.modules)\n"
        "elements = [e for e in Pipeline(source=list(range(9)), batch_size=3, num_workers=1, output='numpy',"
        " enforce_batch=False)]\n"
        "assert [int(e['value']) for e in elements] == list(range(9))\n"
        "assert not {'jax', 'flax', 'jaxlib'} & set(sys.modules)\n"
        "assert sorted(datarax_mp.__all__) == datarax_mp.__all__\n"
        "for name in datarax_mp.__all__: getattr(datarax_mp, name)\n"
    )


def test_workers_stay_warm_between_epochs_and_pipelines() -> None:
    pool().close()  # parked workers of other tests may leave meanwhile
    with make(2) as first:
        pids(first)
        started = set(workers())
        pids(first)
        assert set(workers()) == started
    assert len(started) == 2
    with make(2) as second:
        assert pids(second) | pids(second) <= {worker.pid for worker in started}
        assert set(workers()) == started


def test_a_new_pipeline_starts_no_process_while_parked_workers_are_there() -> None:
    pool().close()
    with make(3) as pipeline:
        pids(pipeline)
    before = set(workers())
    for _ in range(3):
        pids(make(3))
    assert set(workers()) == before


def test_two_pipelines_at_once_have_workers_of_their_own() -> None:
    with make(1) as one, make(1) as two:
        for a, b in zip(one, two, strict=True):
            assert int(a["pid"][0]) != int(b["pid"][0])


def test_processes_descriptors_and_threads_do_not_grow_over_pipelines() -> None:
    import threading

    def counts() -> tuple[int, int, int]:
        gc.collect()  # what earlier tests left in reference cycles
        at_work = workers()  # one more, perhaps, where those of the pipeline before are slow to come to their end
        descriptors = max(worker.num_fds() for worker in at_work)
        return psutil.Process().num_fds() - 3 * len(at_work), threading.active_count(), descriptors

    pool().close()

    def use() -> None:
        pipeline = make(2)
        iterator = iter(pipeline)
        next(iterator)
        pids(pipeline)

    for _ in range(3):
        use()
    before = counts()
    for _ in range(25):
        use()
    after = counts()
    assert after[0] <= before[0]
    assert after[1] <= before[1]
    assert after[2] <= before[2] + 15  # a worker may have its last program still open; 25 leaks would show


def test_nothing_grows_over_fifty_epochs() -> None:
    import threading

    pool().close()  # fresh workers: others may have imported what other tests need
    with make(2) as pipeline:

        def counts() -> dict[str, float]:
            gc.collect()
            main, at_work = psutil.Process(), workers()
            assert len(at_work) == 2
            return {
                "descriptors of main": main.num_fds(),
                "descriptors of workers": sum(worker.num_fds() for worker in at_work),
                "threads": threading.active_count(),
                "names in /dev/shm": len(names.of_this_process()),
                "memory of workers, MB": sum(own_memory(worker.pid) for worker in at_work) / 1e6,
                "memory of main, MB": own_memory(main.pid) / 1e6,
            }

        def fifty_epochs() -> None:
            for epoch in range(50):
                for step, _ in enumerate(pipeline):
                    if epoch % 5 == 0 and step == 20:
                        break  # and epochs that are left early

        for _ in range(30):
            pids(pipeline)
        grown: list[Any] = []
        for _ in range(4):  # what other tests' threads do just now may show once, and what leaks shows every time
            before = counts()
            fifty_epochs()
            after = counts()
            # Workers come to own pages that they shared with the nursery until they touched them; that levels off.
            most = {"memory of workers, MB": 1.5, "memory of main, MB": 3.0}
            if not (more := [name for name in before if after[name] - before[name] > most.get(name, 0)]):
                return
            grown.append((more, before, after))
        raise AssertionError(grown)


def test_parked_workers_leave_after_a_while_and_nobody_minds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datarax_mp.crews.processes.pool.PARK_SECONDS", 0.1)
    pipeline = make(2)
    seen: dict[int, psutil.Process] = {}
    for batch in pipeline:
        for pid in set(batch["pid"].tolist()) - set(seen):
            seen[pid] = psutil.Process(pid)  # afterwards it may be gone any moment
    assert all_end(seen.values())
    assert len(pids(pipeline)) >= 1


def test_closing_the_pool_ends_all_processes() -> None:
    own = Pool()
    leased = own.lease(3, Need(1, frozenset(), large=False))
    processes = [psutil.Process(worker.pid) for worker in leased]
    [nursery] = {process.parent() for process in processes}
    assert nursery.parent() == psutil.Process()
    own.close()
    assert not lives(nursery)
    gone, alive = psutil.wait_procs([*processes], timeout=10)
    assert len(gone) == 3
    assert not alive
    for worker in leased:
        worker.close()
    own.close()


def test_the_process_that_starts_workers_is_known_while_it_lives() -> None:
    pool().close()
    assert pool().nursery() is None
    with make() as pipeline:
        next(iter(pipeline))
        known = nursery()
        assert pool().nursery() == known.pid
        kill([known])
        assert pool().nursery() is None


def test_what_a_finalizer_gives_back_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    need = Need(7, frozenset(), large=False)
    own = Pool()
    [first] = own.lease(1, need)
    first.recipe_id = 7
    finish, finalizers = Spawner.finish, list[threading.Thread]()

    def give_back() -> None:
        own.park([first])
        own.unload(7)

    def finish_after_another_thread(spawner: Spawner, workers: list[Worker]) -> None:
        finalizers.append(threading.Thread(target=give_back))
        finalizers[0].start()
        finalizers[0].join(20)
        assert not finalizers[0].is_alive()
        finish(spawner, workers)

    monkeypatch.setattr(Spawner, "finish", finish_after_another_thread)
    [second] = own.lease(1, need)  # the thread inside waits for one that has something to give back
    assert first.recipe_id is None
    monkeypatch.undo()
    assert own.lease(1, need) == [first]
    own.close()
    for worker in (first, second):
        worker.close()


def test_a_program_finds_modules_and_files_as_main_does(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_module.py").write_text("def plus_one(record):\n    return {'y': record + 1}\n")
    (tmp_path / "data.npy").write_bytes(b"12345")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    import users_module  # type: ignore[import-not-found]

    def size(record: Any) -> Any:
        return {**record, "bytes": os.path.getsize("data.npy")}

    with Pipeline(source=[1, 2], batch_size=2, num_workers=1, stages=[users_module.plus_one, size]) as pipeline:
        batch = next(iter(pipeline))
    assert batch["y"].tolist() == [2, 3]
    assert batch["bytes"].tolist() == [5, 5]
