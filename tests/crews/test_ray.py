"""Ray actors as workers: the same stream, whatever becomes of actors and nodes, and nothing of them left behind."""

from __future__ import annotations

import importlib
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from datarax_mp import (
    BlockSource,
    Cache,
    Filter,
    Pad,
    Pipeline,
    RandomMapElement,
    RayWorkers,
    WorkerError,
    WorkerTimeoutError,
    worker_info,
)
from datarax_mp.testing import assert_same_stream, kill_workers
from tests.engines import check_errors, check_going_on

ray = pytest.importorskip("ray")

# Ray starts its processes by os.fork, and jax warns of every one, although exec follows at once.
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")

LENGTH, BATCH = 60, 4
SECONDS = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_dashboard": False}
    quick = {"health_check_period_ms": 500, "health_check_timeout_ms": 500, "health_check_failure_threshold": 20}
    made = Cluster(initialize_head=True, connect=False, head_node_args={**head, "_system_config": quick})
    try:
        made.leaving = made.add_node(num_cpus=2, resources={"spot": 2}, object_store_memory=80 << 20)
        made.add_node(num_cpus=1, object_store_memory=80 << 20)
        connect(made)
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


def connect(cluster: Any) -> None:
    ray.init(cluster.address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)


def make(**options: Any) -> Pipeline:
    return Pipeline(**{"source": ARRAYS, "batch_size": BATCH, "shuffle": True, "seed": 5, "output": "numpy", **options})


ARRAYS = {"image": np.arange(LENGTH * 48, dtype=np.uint8).reshape(LENGTH, 4, 4, 3), "n": np.arange(LENGTH)}
REMOTE: dict[str, Any] = {"num_workers": 2, "workers": "ray"}
MIXED: dict[str, Any] = {"num_workers": 3, "workers": RayWorkers(local=1)}


def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**record, "noise": rng.random(3), "text": f"record {record['n']}"}


def ragged(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "tokens": np.arange(record["n"] % 7 + 1)}


class Blocks(BlockSource):
    blocks = (20, 25, 15)

    def read_block(self, number: int) -> dict[str, Any]:
        begin = sum(self.blocks[:number])
        return {"n": np.arange(begin, begin + self.blocks[number])}


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "records": lambda: {"stages": [RandomMapElement(noisy), ragged, Pad("tokens", 8, to="longest", mask="mask")]},
    "filtered blocks": lambda: {"source": Blocks(), "stages": [Filter(lambda record: record["n"] % 3 > 0)]},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", [REMOTE, MIXED], ids=["actors", "actors and processes"])
def test_the_stream_is_the_same_as_without_workers(cluster: Any, how: dict[str, Any], kind: str) -> None:
    with make(**KINDS[kind]()) as plain, make(**KINDS[kind](), **how) as remote:
        assert_same_stream(plain, remote, epochs=2)


@pytest.mark.parametrize("how", [REMOTE, MIXED], ids=["actors", "actors and processes"])
def test_a_run_goes_on_from_ray_in_another_engine_and_kept_batches_stay(cluster: Any, how: dict[str, Any]) -> None:
    with make(**how) as remote:
        check_going_on(remote, [partial(make, num_workers=1)])


def test_what_is_raised_names_record_and_stage_or_is_skipped(cluster: Any) -> None:
    check_errors(partial(make, **REMOTE), LENGTH, notes=["in Ray actor process"])
    check_errors(partial(make, **MIXED), LENGTH)


def slowly(record: dict[str, Any]) -> dict[str, Any]:
    """A stage that takes a while, and says where it runs."""
    time.sleep(0.005)
    info = worker_info()
    return {**record, "worker": np.int32(info.index), "workers": np.int32(info.count)}


def together(folder: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """``slowly``, and a process takes its time until each actor has begun: actors get work whenever it has answered."""

    def stage(record: dict[str, Any]) -> dict[str, Any]:
        info = worker_info()
        if info.index > 0:
            (folder / str(info.index)).touch()
        elif len(list(folder.iterdir())) < info.count - 1:
            time.sleep(0.1)
        return slowly(record)

    return stage


def test_processes_and_actors_work_together_and_whoever_dies_changes_nothing(cluster: Any, tmp_path: Path) -> None:
    source = {"n": np.arange(800)}
    with make(source=source) as plain:
        wanted = [batch["n"].tolist() for batch in plain]
    with make(source=source, stages=[together(tmp_path)], **MIXED) as pipeline:
        found, who = [], set()
        for batch in pipeline:
            found.append(batch["n"].tolist())
            who |= set(batch["worker"].tolist())
            assert set(batch["workers"].tolist()) == {3}
            if len(found) in (30, 90):
                assert pipeline.stats().workers == 3
                kill_workers(1)
        assert found == wanted
        assert who == {0, 1, 2}
        assert pipeline.stats().replaced == 2


def test_where_actors_come_to_their_end_the_processes_go_on_alone(
    cluster: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"

    def remote_dies(record: dict[str, Any]) -> dict[str, Any]:
        if worker_info().index > 0:
            raise SystemExit(3)
        time.sleep(0 if alone.exists() else 0.1)  # as in ``together``
        return record

    def note(logged: logging.LogRecord) -> bool:
        if "go on alone" in logged.getMessage():
            alone.touch()
        return True

    source = {"n": np.arange(800)}
    with (
        caplog.filtering(note),  # type: ignore[arg-type]
        make(source=source) as plain,
        make(source=source, stages=[remote_dies], **MIXED) as pipeline,
    ):
        assert_same_stream(plain, pipeline)
    assert "the workers of this machine go on alone: " in caplog.text


@pytest.mark.parametrize("again", [False, True], ids=["shut down", "and begun anew"])
def test_a_ray_that_is_shut_down_in_an_epoch_is_an_error_from_which_a_run_goes_on(cluster: Any, again: bool) -> None:
    source = {"n": np.arange(400)}
    with make(source=source) as plain:
        wanted = [batch["n"].tolist() for batch in plain]
    with make(source=source, stages=[slowly], **REMOTE) as pipeline:
        iterator = iter(pipeline)
        found = [next(iterator)["n"].tolist() for _ in range(5)]
        try:
            ray.shutdown()
            if again:
                connect(cluster)
            with pytest.raises(WorkerError, match=r"Ray was shut down while its actors .* the next iterator asks"):
                found.extend(batch["n"].tolist() for batch in iterator)
            assert ray.is_initialized() == again
        finally:
            if not ray.is_initialized():
                connect(cluster)
        pipeline.set_state(iterator.get_state())
        assert found + [batch["n"].tolist() for batch in pipeline] == wanted


def test_processes_beside_actors_go_on_alone_where_ray_is_shut_down(
    cluster: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    source = {"n": np.arange(2000)}
    with make(source=source) as plain:
        wanted = [batch["n"].tolist() for batch in plain]
    with make(source=source, stages=[together(tmp_path)], **MIXED) as pipeline:
        iterator = iter(pipeline)
        found, who = list[Any](), {0}
        while who == {0}:  # until an actor has made one
            batch = next(iterator)
            found.append(batch["n"].tolist())
            who |= set(batch["worker"].tolist())
        try:
            ray.shutdown()
            assert found + [batch["n"].tolist() for batch in iterator] == wanted
            assert not ray.is_initialized()
        finally:
            connect(cluster)
        assert "go on alone: Ray was shut down" in caplog.text
        assert next(iter(pipeline))["n"].tolist() != wanted[0]  # of the next epoch


def test_what_takes_too_long_is_ended_and_the_error_shows_where_it_was(cluster: Any) -> None:
    def waits(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 9:
            threading.Event().wait()
        return record

    with make(shuffle=False, stages=[waits], timeout=15.0, **REMOTE) as pipeline:
        with pytest.raises(WorkerTimeoutError, match=r"MapElement\(waits\) worked on record 9") as caught:
            list(pipeline)
        assert "threading.Event().wait()" in str(caught.value)


def test_a_record_that_kills_every_actor_is_an_error(cluster: Any) -> None:
    def dies(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 21:
            raise SystemExit(3)
        return record

    for options, said in (({}, "the third worker to be lost there"), ({"restart_workers": False}, "is not replaced")):
        how = {"num_workers": 1, "workers": "ray", "shuffle": False, **options}
        with make(stages=[dies], **how) as remote, pytest.raises(WorkerError, match=said) as caught:
            list(remote)
        assert re.search(r"at steps? [1-5].* of epoch 0 \(records", str(caught.value))


def test_leaving_early_and_closing_leave_no_actor_and_the_users_ray_as_it_was(cluster: Any) -> None:
    def slow(record: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.01)
        return {**record, "process": np.int64(os.getpid())}

    with make(stages=[slow], **REMOTE) as pipeline:
        for _ in range(2):
            next(iter(pipeline))
        batches = list(pipeline)
        processes = {number for batch in batches for number in batch["process"].tolist()}
        assert len(batches) == LENGTH // BATCH
        assert 1 <= len(processes) <= 2  # the same actors as before
    assert ray.is_initialized()
    known = [psutil.Process(number) for number in processes if psutil.pid_exists(number)]
    assert psutil.wait_procs(known, SECONDS)[1] == []


def test_another_thread_can_close_while_this_one_waits_for_actors(cluster: Any, tmp_path: Path) -> None:
    def waits(record: dict[str, Any]) -> dict[str, Any]:
        if record["n"] == 9:
            (tmp_path / "begun").touch()
            threading.Event().wait()
        return record

    pipeline = make(stages=[waits], shuffle=False, **REMOTE)
    taken: list[list[int]] = []

    # Record 9 is in the third batch: an actor may wait at it while another one is still to answer the second.
    def close() -> None:
        while len(taken) < 2 or not (tmp_path / "begun").exists():
            time.sleep(0.01)
        pipeline.close(timeout=0.1)

    closing = threading.Thread(target=close)
    closing.start()
    for batch in pipeline:
        taken.append(batch["n"].tolist())
    closing.join()
    assert taken == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_what_the_user_changes_between_two_epochs_reaches_the_actors(cluster: Any) -> None:
    class Scaled:
        factor = 1

        def __call__(self, record: dict[str, Any]) -> dict[str, Any]:
            return {"n": record["n"] * self.factor, "worker": np.int32(worker_info().index)}

    stage = Scaled()
    with make(stages=[stage], shuffle=False, **REMOTE) as pipeline:
        assert next(iter(pipeline))["n"].tolist() == [0, 1, 2, 3]
        stage.factor = 10
        batches = list(pipeline)
    assert batches[0]["n"].tolist() == [0, 10, 20, 30]
    assert {number for batch in batches for number in batch["worker"].tolist()} <= {0, 1}


def test_modules_are_found_where_this_process_finds_them(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def doubled(record):\n    return {'n': record['n'] * 2}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    doubled = importlib.import_module("only_here").doubled
    with make(stages=[doubled], shuffle=False, num_workers=1, workers="ray") as pipeline:
        assert next(iter(pipeline))["n"].tolist() == [0, 2, 4, 6]


def test_no_more_bytes_are_in_flight_than_may_be(cluster: Any) -> None:
    source = {"x": np.arange(LENGTH * 50_000, dtype=np.uint8).reshape(LENGTH, -1)}
    with (
        make(source=source) as plain,
        make(source=source, num_workers=2, workers=RayWorkers(max_bytes_in_flight=1)) as remote,
    ):
        assert_same_stream(plain, remote)


def test_what_cannot_be_had_is_said_when_the_pipeline_is_made() -> None:
    with pytest.raises(ValueError, match="say how many"):
        make(workers="ray", num_workers="auto")
    with pytest.raises(ValueError, match="Cache keeps records"):
        make(stages=[ragged, Cache(budget=1 << 20)], **REMOTE)
    with pytest.raises(ValueError, match="or a RayWorkers, got 'rays'"):
        make(workers="rays", num_workers=2)
    with pytest.raises(ValueError, match=r"Ray's client"):
        RayWorkers(address="ray://head:10001")
    with pytest.raises(TypeError, match=r"resources\['gpu'\] must be a number"):
        RayWorkers(resources={"gpu": "1"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"RayWorkers\(local=4\) are some of num_workers=3"):
        make(num_workers=3, workers=RayWorkers(local=4))
    with pytest.raises(ValueError, match="local must be"):
        RayWorkers(local=-1)
    with pytest.raises(ValueError, match="num_cpus must not be negative"):
        RayWorkers(num_cpus=-1)


def test_a_ray_that_was_started_for_a_pipeline_is_shut_down_with_it(cluster: Any, run_script: Any) -> None:
    run_script(
        "import sys\n"
        "from datarax_mp import Pipeline, RayWorkers\n"
        "assert 'ray' not in sys.modules\n"
        f"how = RayWorkers(address={cluster.address!r})\n"
        "with Pipeline(source=[1, 2, 3], batch_size=2, num_workers=1, workers=how, output='numpy') as pipeline:\n"
        "    assert [len(batch['value']) for batch in pipeline] == [2, 1]\n"
        "    import ray\n"
        "    assert ray.is_initialized()\n"
        "assert not ray.is_initialized()\n"
    )


def test_nodes_may_go_and_come_in_the_middle_of_an_epoch(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    def where(record: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.002)
        return record

    source = {"n": np.arange(1200), "x": np.arange(1200 * 1000, dtype=np.int32).reshape(1200, -1)}
    spot = RayWorkers(num_cpus=0.5, resources={"spot": 1})  # there is room for two, later for four
    with make(source=source) as plain:
        wanted = [batch["x"].tobytes() for batch in plain]
    with make(source=source, stages=[where], num_workers=3, workers=spot, prefetch_size=0) as pipeline:
        found = []
        for batch in pipeline:
            found.append(batch["x"].tobytes())
            if len(found) == 40:
                cluster.add_node(num_cpus=2, resources={"spot": 4}, object_store_memory=80 << 20)
                cluster.remove_node(cluster.leaving, allow_graceful=False)
    assert found == wanted
    assert "was lost" in caplog.text
