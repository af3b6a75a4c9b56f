"""Everything that can go wrong, at random, for as long as you like, with every value checked.

    python scripts/soak.py --minutes 20
    python scripts/soak.py --minutes 1 --seed 7

Rounds follow each other in one process. Each makes a pipeline at random (kind of source, workers or "auto", batch size,
shuffling, stages, Filter, Pad with buckets, output, prefetch, memory budget, on_error, padding) beside one that lives
for many rounds, and uses it in some way: whole epochs, epochs left early, resumed from a state here, there, or with
another batch size, interrupted by Ctrl-C or alarms that raise, closed from another thread, dropped. Meanwhile workers
and sometimes the nursery are killed, workers stopped for a while, records raise, and batches are kept for rounds and
looked at again.

Every batch is compared with what the order, a pure function of (seed, epoch, step), says; kept ones again when they are
let go. After each round the descriptors, threads, processes and names in /dev/shm are counted. The first deviation is
printed with the seed and the round, and ends the run with code 1. Otherwise a table says what was met, and how often.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import logging
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

import jax
import numpy as np
import psutil

from datarax_mp import (
    Filter,
    MapElement,
    MemorySource,
    MemorySourceConfig,
    Pad,
    Pipeline,
    RandomMapElement,
    WorkerError,
)
from datarax_mp.monitoring.memory import tree_memory
from datarax_mp.order import Among, Order, in_order_or_shuffled

met: Counter[str] = Counter()  # what the run has met


class Trouble(Exception):
    """What a stage raises on purpose."""


class Alarm(Exception):
    """What a signal handler raises."""


class Stop(BaseException):
    """The same, and no Exception."""


BUCKETS = (2, 4, 8)


@dataclass
class Records:
    """A source whose record n is full of n; some records fail, some take long, some end their worker once."""

    length: int
    width: int
    failing: frozenset[int]
    deadly: frozenset[int]
    slow: frozenset[int]
    folder: str
    ragged: bool
    own: int  # the process that is to live, which "auto" reads some records in

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Any]:
        if number in self.failing:
            raise Trouble(f"record {number} fails")
        if number in self.deadly and os.getpid() != self.own and _first_time(f"{self.folder}/{number}"):
            os.kill(os.getpid(), random.Random(number).choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))
        if number in self.slow:
            time.sleep(0.02)
        record = {"n": number, "x": np.full(self.width, number, np.int32), "text": f"record {number}"}
        return {**record, "ragged": np.arange(number % 7)} if self.ragged else record


def _first_time(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def twice(record: dict[str, Any]) -> dict[str, Any]:
    """A stage."""
    return {**record, "twice": record["x"] * 2}


def passes(record: dict[str, Any]) -> bool:
    """A filter."""
    return int(record["n"]) % 3 != 1


def draw(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A random stage whose draw is also checked: it depends on seed, epoch and record alone."""
    return {**record, "draw": rng.random()}


class Checked:
    """A pipeline and what it must yield."""

    def __init__(self, chance: random.Random, folder: str) -> None:
        length = chance.randrange(1, 600)
        workers = chance.choice([0, 1, 1, 2, 3, 4])
        picks = range(chance.choice([0, 0, 0, 1, 4]))

        def some() -> frozenset[int]:
            return frozenset(chance.choice(range(1, length)) for _ in picks if length > 1)

        self.failing, deadly = some(), some() if workers else frozenset()
        self.skip, self.pad = chance.random() < 0.6, chance.random() < 0.3
        self.drop = not self.pad and chance.random() < 0.3
        batch = chance.choice([1, 3, 8, 32, 100])
        if chance.random() < 0.3:
            self.failing, deadly = frozenset(), frozenset()
            data = {"n": np.arange(length), "x": np.repeat(np.arange(length, dtype=np.int32)[:, None], 40, axis=1)}
            source: Any = MemorySource(MemorySourceConfig(), data)
        else:
            width = chance.choice([1, 50, 5000])
            ragged = chance.random() < 0.3
            source = Records(length, width, self.failing, deadly - self.failing, some(), folder, ragged, os.getpid())
        stages: list[Any] = [stage for stage in (MapElement(twice), RandomMapElement(draw)) if chance.random() < 0.4]
        kept = None
        if chance.random() < 0.2 and (self.skip or not self.failing):
            stages.insert(0, Filter(passes))
            kept = np.array([n for n in range(length) if n % 3 != 1 or n in self.failing])
        if getattr(source, "ragged", False):
            stages.append(Pad("ragged", BUCKETS[-1], to=BUCKETS, value=-1, lengths="long"))
        self.seed = chance.randrange(2**31)
        self.output: Any = chance.choice(["numpy", "numpy", "jax"])
        self.options = {
            "source": source,
            "batch_size": batch,
            "stages": stages,
            "rngs": np.random.default_rng(self.seed),
            "num_workers": "auto" if workers and chance.random() < 0.1 else workers,
            "prefetch_size": chance.choice([0, 1, 2, 5]),
            "drop_last": self.drop,
            "pad_last": self.pad,
            "shuffle": chance.random() < 0.5,
            "output": self.output,
            "on_error": "skip" if self.skip else "raise",
            "timeout": chance.choice([None, 60.0]) if workers else None,
            "memory_budget": chance.choice([None, None, 60_000_000]),
        }
        self.pipeline = Pipeline(**self.options)
        choice = in_order_or_shuffled(length, shuffle=bool(self.options["shuffle"]))
        self.order = Order(
            choice if kept is None else Among.those(choice, kept),
            batch_size=batch,
            seed=self.pipeline.get_state()["seed"],
            drop_last=self.drop,
        )
        self.workers = workers

    def expected(self, epoch: int, step: int) -> list[int]:
        """The records of a step, without those that are skipped."""
        return [n for n in self.order.records(epoch, step).tolist() if n not in self.failing]

    def check(self, batch: Any, epoch: int, step: int) -> None:
        """Compare every value."""
        numbers = self.expected(epoch, step)
        valid = np.asarray(batch.valid_mask)
        assert valid.tolist() == [True] * len(numbers) + [False] * (len(valid) - len(numbers)), (epoch, step)
        assert np.asarray(batch["n"])[valid].tolist() == numbers, (epoch, step)
        rows = np.asarray(batch["x"])[valid]
        assert (rows == np.array(numbers, np.int32).reshape(-1, 1)).all(), (epoch, step)
        if "twice" in batch:
            assert (np.asarray(batch["twice"])[valid] == 2 * rows).all(), (epoch, step)
        if "ragged" in batch and numbers:
            lengths = [number % 7 for number in numbers]
            padded = np.asarray(batch["ragged"])[valid]
            assert np.asarray(batch["long"])[valid].tolist() == lengths, (epoch, step)
            assert padded.shape[1] == next(bucket for bucket in BUCKETS if bucket >= max(lengths)), (epoch, step)
            places = np.arange(padded.shape[1])
            assert (padded == np.where(places < np.array(lengths)[:, None], places, -1)).all(), (epoch, step)
        if met["batches"] % 50 == 0 and "text" in batch.metadata[0].source_info:
            texts = [item.source_info.get("text") for item in batch.metadata][: len(numbers)]
            assert texts == [f"record {number}" for number in numbers], (epoch, step)
        met["batches"] += 1
        met["records"] += len(numbers)

    def walk(self, epoch: int, step: int) -> Iterator[tuple[Any, int]]:
        """Iterate one epoch from a step on, checking each batch, and yield it with its step."""
        iterator = iter(self.pipeline)
        try:
            for batch in iterator:
                while not self.expected(epoch, step) and not self.pad:
                    step += 1
                self.check(batch, epoch, step)
                yield batch, step
                step += 1
        except Trouble:
            met["exceptions of records"] += 1
            assert not self.skip, "an exception came through on_error='skip'"
            assert self.failing & set(self.order.records(epoch, step).tolist()), (epoch, step)
            return
        while step < len(self.order) and not self.expected(epoch, step):
            step += 1
        assert step == len(self.order), f"the epoch ended at step {step} of {len(self.order)}"
        met["whole epochs"] += 1


class Soak:
    """The rounds."""

    def __init__(self, seed: int, folder: str) -> None:
        self.chance, self.folder, self.round = random.Random(seed), folder, 0
        self.kept: list[tuple[Checked, Any, int, int, int]] = []  # with the round to let go in
        self.constant: tuple[Checked, int] | None = None
        self.kills = 0  # of workers, from outside, in this round

    def fresh_folder(self) -> str:
        """Where the sources of one pipeline note who has died."""
        return mkdtemp(dir=self.folder)

    def one(self) -> None:
        """One round."""
        self.round += 1
        checked = Checked(self.chance, self.fresh_folder())
        uses = [self.whole, self.early, self.resumed, self.jumping, self.regrouped, self.interrupted, self.closed]
        use = self.chance.choice([self.whole, self.alarmed, *uses])
        met[f"use: {use.__name__}"] += 1
        self.kills = 0
        killer = threading.Thread(target=self.kill_some, args=(self.chance.randrange(1 << 30),))
        killer.start()
        try:
            use(checked)
            if self.chance.random() < 0.5:
                self.beside()
        except WorkerError as error:
            # A kill from outside can hit a worker, by chance, where another one has died before.
            looks = "the second worker to die there", "workers have died in a row"
            if not any(look in str(error) for look in looks) or not self.kills:
                raise
            met["kills that looked like a deadly record"] += 1
            self.constant = None  # its epoch may have begun or not
        finally:
            killer.join()
        if self.chance.random() < 0.5:
            checked.pipeline.close()
        for item in [item for item in self.kept if item[4] <= self.round]:
            item[0].check(*item[1:4])
            met["kept batches looked at again"] += 1
            self.kept.remove(item)

    def keep(self, checked: Checked, batch: Any, epoch: int, step: int) -> None:
        """Now and then, keep a batch for some rounds."""
        if self.chance.random() < 0.1 and len(self.kept) < 200:
            self.kept.append((checked, batch, epoch, step, self.round + self.chance.randrange(1, 30)))

    def whole(self, checked: Checked) -> None:
        """Whole epochs."""
        for epoch in range(self.chance.randrange(1, 4)):
            for batch, step in checked.walk(epoch, 0):
                self.keep(checked, batch, epoch, step)

    def early(self, checked: Checked) -> None:
        """Epochs that are left early."""
        for epoch in range(self.chance.randrange(1, 5)):
            stop = self.chance.randrange(len(checked.order) + 1)
            for batch, step in checked.walk(epoch, 0):
                self.keep(checked, batch, epoch, step)
                if step >= stop:
                    break

    def resumed(self, checked: Checked) -> None:
        """From a state in the middle of some epoch."""
        epoch, step = self.chance.randrange(5), self.chance.randrange(len(checked.order) + 1)
        state = {**checked.pipeline.get_state(), "epoch": epoch, "step": step}
        checked.pipeline.set_state(state)
        for batch, at in checked.walk(epoch, step):
            self.keep(checked, batch, epoch, at)

    def jumping(self, checked: Checked) -> None:
        """One iterator that is set here and there."""
        iterator = iter(checked.pipeline)
        for _ in range(self.chance.randrange(1, 5)):
            epoch, step = self.chance.randrange(3), self.chance.randrange(len(checked.order) + 1)
            iterator.set_state({**checked.pipeline.get_state(), "epoch": epoch, "step": step})
            for _ in range(self.chance.randrange(4)):
                while step < len(checked.order) and not checked.expected(epoch, step) and not checked.pad:
                    step += 1
                if step >= len(checked.order) or checked.failing:
                    break
                checked.check(next(iterator), epoch, step)
                step += 1
        iterator.close()

    def regrouped(self, checked: Checked) -> None:
        """Part of an epoch, and the rest of it with another batch size."""
        if checked.drop or checked.pad or (checked.failing and not checked.skip):
            return
        stop = self.chance.randrange(len(checked.order) + 1)
        received: list[int] = []
        iterator = iter(checked.pipeline)
        for batch in itertools.islice(iterator, stop):
            received += np.asarray(batch["n"]).tolist()
        state = checked.pipeline.get_state()
        iterator.close()
        size = self.chance.choice([2, 5, 16, 64])
        with Pipeline(**{**checked.options, "batch_size": size, "rngs": np.random.default_rng(0)}) as other:
            other.set_state(state, elastic=True)
            if state["epoch"] == 0:
                received += [number for batch in other for number in np.asarray(batch["n"]).tolist()]
        expected = [n for at in range(len(checked.order)) for n in checked.expected(0, at)]
        assert received == expected, "an epoch that is regrouped has other records"

    def alarmed(self, checked: Checked) -> None:
        """Alarms that raise, at any moment, and then the whole epoch."""
        if checked.skip:
            return  # where the user's code runs in this process, an alarm in it is that code's exception, and skipped
        kinds = itertools.cycle([Alarm, TimeoutError, Stop, OSError])

        def on_alarm(*_: Any) -> None:
            raise next(kinds)("an alarm")

        before = signal.signal(signal.SIGALRM, on_alarm)
        try:
            for _ in range(self.chance.randrange(1, 6)):
                state = checked.pipeline.get_state()
                checked.pipeline.set_state({**state, "epoch": 0, "step": 0})
                try:
                    signal.setitimer(signal.ITIMER_REAL, self.chance.uniform(0.0005, 0.05))
                    for _ in checked.walk(0, 0):
                        pass
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except (Alarm, Stop, OSError) as error:
                    if error.args != ("an alarm",):
                        raise
                    met["alarms that raised"] += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        checked.pipeline.set_state({**checked.pipeline.get_state(), "epoch": 0, "step": 0})
        for _ in checked.walk(0, 0):
            pass

    def interrupted(self, checked: Checked) -> None:
        """Ctrl-C at some moment, and then the whole epoch."""
        timer = threading.Timer(self.chance.random() * 0.1, os.kill, (os.getpid(), signal.SIGINT))
        epoch = 0
        try:
            timer.start()
            while True:  # until the interrupt comes; how many epochs had begun by then is asked below
                done = timer.finished.is_set()
                for _ in checked.walk(epoch, 0):
                    pass
                epoch += 1
                if done:
                    time.sleep(1)  # it may be on its way
                    met[f"interrupts that nobody raised, output {checked.output}"] += 1
                    break
        except KeyboardInterrupt:
            met["interrupts"] += 1
        timer.join()
        state = checked.pipeline.get_state()
        checked.pipeline.set_state({**state, "step": 0})
        for _ in checked.walk(state["epoch"], 0):
            pass

    def closed(self, checked: Checked) -> None:
        """Closed by another thread at some moment."""
        timer = threading.Timer(self.chance.random() * 0.1, checked.pipeline.close)
        timer.start()
        try:
            for epoch in range(1000):
                for _ in checked.walk(epoch, 0):
                    pass
        except RuntimeError as error:
            if "closed" not in str(error):
                raise
            met["closed from another thread"] += 1
        except AssertionError as error:
            if "the epoch ended" not in str(error):  # as it does when the pipeline is closed in the middle of it
                raise
            met["closed from another thread"] += 1
        timer.join()

    def beside(self) -> None:
        """An epoch of the pipeline that lives on while others come and go, in step with nobody."""
        if self.constant is None or self.chance.random() < 0.1:
            if self.constant is not None:
                self.constant[0].pipeline.close()
            self.constant = (Checked(random.Random(self.round), self.fresh_folder()), 0)
        constant, epoch = self.constant
        self.constant = (
            constant,
            epoch + 1,
        )  # now: should an error end this epoch, the next one comes after it
        for _ in constant.walk(epoch, 0):
            pass
        met["epochs of a pipeline that lives on"] += 1

    def kill_some(self, seed: int) -> None:
        """Kill workers, and now and then the nursery, from a thread of its own."""
        chance = random.Random(seed)
        for _ in range(chance.choice([0, 0, 1, 2])):
            time.sleep(chance.random() * 0.1)
            try:
                nursery = nursery_now()
                if nursery is None:
                    continue
                if chance.random() < 0.05:
                    nursery.kill()
                    met["nurseries killed"] += 1
                elif (children := nursery.children()) and chance.random() < 0.2:
                    stopped = chance.choice(children)
                    stopped.suspend()
                    time.sleep(chance.random() * 0.2)
                    stopped.resume()
                    met["workers stopped for a while"] += 1
                elif children:
                    chance.choice(children).send_signal(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))
                    met["workers killed from outside"] += 1
                    self.kills += 1
            except (psutil.Error, OSError):
                continue

    def count(self) -> dict[str, int]:
        """What must not grow."""
        gc.collect()
        try:
            nursery = nursery_now()
            processes = 0 if nursery is None else len(nursery.children())
        except psutil.Error:
            processes = 0
        return {
            "descriptors": len(os.listdir("/proc/self/fd")),
            "threads": threading.active_count(),
            "workers": processes,
            "names in /dev/shm": sum(f"-{os.getpid()}-" in name for name in os.listdir("/dev/shm")),
            "resident MB": psutil.Process().memory_info().rss // 2**20,
        }


BOUNDS = {"descriptors": 300, "threads": 12, "workers": 40, "names in /dev/shm": 0, "resident MB": 1000}


def nursery_now() -> psutil.Process | None:
    """The process that starts workers, if there is one."""
    found = tree_memory().of("nursery")
    return psutil.Process(found[0].pid) if found else None


class Log(logging.Handler):
    """Counts what the package warns of instead of printing it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record."""
        text = record.getMessage()
        kinds = {" died ": "deaths that were logged", "skipped": "skips that were logged", "no batch": "empty epochs"}
        met[next((kind for part, kind in kinds.items() if part in text), text)] += 1


def run(soak: Soak, minutes: float, say: Callable[[str], None]) -> None:
    """Rounds until the time is over."""
    end, told = time.monotonic() + 60 * minutes, time.monotonic()
    while time.monotonic() < end:
        soak.one()
        if soak.round % 20 == 0:
            jax.clear_caches()  # JAX keeps what it compiled for every shape, and here shapes are new all the time
        counts = soak.count()
        for name, most in BOUNDS.items():
            assert counts[name] <= most, f"{name}: {counts[name]}, expected at most {most}"
        if time.monotonic() > told + 10:
            told = time.monotonic()
            say(f"round {soak.round}, {(end - told) / 60:.1f} min left: {met['batches']} batches, {counts}")


def main() -> int:
    """Run, and print what was met."""
    parser = argparse.ArgumentParser(description="Everything that can go wrong, at random, with every value checked.")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**31)
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
    logger = logging.getLogger("datarax_mp")
    logger.addHandler(Log())
    logger.propagate = False
    print(f"seed {arguments.seed}", flush=True)
    with TemporaryDirectory() as folder:
        soak = Soak(arguments.seed, folder)
        try:
            run(soak, arguments.minutes, lambda text: print(text, file=sys.stderr, flush=True))
        except BaseException:
            print(f"in round {soak.round} of seed {arguments.seed}, after {dict(met)}", file=sys.stderr)
            raise
        print(f"{soak.round} rounds, nothing wrong; in the end {soak.count()}")
    for what, count in sorted(met.items()):
        print(f"{count:>10}  {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
