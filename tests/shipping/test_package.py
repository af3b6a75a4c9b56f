from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline
from datarax_mp.shipping.arrival import unpack
from datarax_mp.shipping.package import SerializedRecipe
from tests.recipes import recipe_of

ARRAY = np.arange(1_000_000)


class Holder:
    """A data set of the user's own that holds a large array."""

    def __init__(self) -> None:
        self.array = ARRAY

    def __len__(self) -> int:
        return 100

    def __getitem__(self, number: int) -> dict[str, Any]:
        return {"x": self.array[number]}


def shipped(source: Any) -> SerializedRecipe:
    return SerializedRecipe(recipe_of(source), 1)


def loaded(serialized: SerializedRecipe) -> Any:
    return unpack(serialized.message(probe=None), [os.dup(fd) for fd in serialized.descriptors])


def test_a_large_array_of_the_users_own_lies_in_the_segment_once() -> None:
    serialized = shipped(Holder())
    assert ARRAY.nbytes < serialized.segments[0].size < ARRAY.nbytes + 100_000
    one, two = loaded(serialized), loaded(serialized)
    assert np.array_equal(one.source.array, ARRAY)
    one.source.array[0] = -1  # as a copy of one's own: nobody else sees it
    assert two.source.array[0] == ARRAY[0] == 0


def test_a_memory_source_is_placed_once_for_all_pipelines() -> None:
    source = MemorySource(MemorySourceConfig(), {"x": ARRAY, "text": ["t"] * len(ARRAY)})
    first, second = shipped(source), shipped(source)
    assert first.segments[0].size < 100_000
    assert first.segments[1] is second.segments[1]
    assert loaded(second).source[5]["x"] == 5
    assert loaded(second).source[5]["text"] == "t"


def test_a_source_inside_another_is_placed_too() -> None:
    class Doubled:
        def __init__(self) -> None:
            self.inner = MemorySource(MemorySourceConfig(), {"x": ARRAY})

        def __len__(self) -> int:
            return len(self.inner)

        def __getitem__(self, number: int) -> dict[str, Any]:
            return {"x": self.inner[number]["x"] * 2}

    serialized = shipped(Doubled())
    assert len(serialized.segments) == 2
    assert loaded(serialized).source[4]["x"] == 8


SOURCES = """
import os, resource
import numpy as np
from datarax_mp import MemorySource, MemorySourceConfig, Pipeline

resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

class Parts:
    def __init__(self, count):
        columns = [{"x": np.full(2, part), "text": [str(part)] * 2} for part in range(count)]
        self.parts = [MemorySource(MemorySourceConfig(), column) for column in columns]
    def __len__(self):
        return 2 * len(self.parts)
    def __getitem__(self, number):
        return self.parts[number // 2][number % 2]

class Opaque(Parts):
    def __getstate__(self):
        return vars(self)

for kind in (Parts, Opaque):
    for count in (1, 63, 64, 253, 1000):
        with Pipeline(source=kind(count), batch_size=16, num_workers=2, output="numpy") as pipeline:
            for _ in range(2):
                assert [n for batch in pipeline for n in batch["x"].tolist()] == [n // 2 for n in range(2 * count)]
"""


def test_a_data_set_of_a_thousand_sources_takes_few_descriptors(run_script: Callable[..., Any]) -> None:
    run_script(SOURCES)


PLACED = """
import os, threading
import numpy as np
from datarax_mp import MemorySource, MemorySourceConfig
from tests.recipes import recipe_of

def shared_memory():
    shared = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            target, found = os.readlink(f"/proc/self/fd/{name}"), os.stat(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(("/dev/shm/", "/memfd:")):
            shared[found.st_dev, found.st_ino] = 512 * found.st_blocks
    return shared

def used():  # of its own, and in shared memory, at one moment
    while True:
        shared = shared_memory()
        with open("/proc/self/status") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        if shared_memory() == shared:
            return 1024 * int(fields["RssAnon"].split()[0]) + sum(shared.values())

size = 40_000_000

def most_used():  # while a source is placed
    source = MemorySource(MemorySourceConfig(), {name: np.full(size // 8, 1.5) for name in "abcdef"})
    before, most, done = used(), [0], threading.Event()

    def watch():
        while not done.wait(0.0005):
            most[0] = max(most[0], used() - before)

    thread = threading.Thread(target=watch)
    thread.start()
    source.place()
    done.set()
    thread.join()
    assert used() - before < size
    assert most[0] < 2.5 * size, most
    return most[0]

found = []
while not found or found[-1] <= size / 2:  # who watches may get no core while there is something to be seen
    assert len(found) < 6, found
    found.append(most_used())
"""


@pytest.mark.needs("proc")
def test_while_data_is_placed_one_column_exists_twice_and_no_more(run_script: Callable[..., Any]) -> None:
    run_script(PLACED)


def test_a_stage_writing_to_the_shared_data_is_an_error() -> None:
    def write(record: dict[str, Any]) -> dict[str, Any]:
        record["x"][...] = 0
        return record

    for workers in (0, 1):
        with (
            Pipeline(source={"x": np.ones((4, 2))}, batch_size=2, stages=[write], num_workers=workers) as pipeline,
            pytest.raises(ValueError, match="read-only"),
        ):
            list(pipeline)
