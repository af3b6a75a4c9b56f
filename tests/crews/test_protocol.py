"""Channels: messages of any size with any number of descriptors, and answers that find their questions."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pytest

from datarax_mp import MemorySource, MemorySourceConfig, Pipeline
from datarax_mp.crews.processes.board import Board
from datarax_mp.crews.processes.pool import pool
from datarax_mp.crews.processes.protocol import Channel, Gone, Park
from datarax_mp.crews.processes.worker import Worker
from datarax_mp.recipe.work import Done, Run, Written


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """Main's end and a worker's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Channel(ours), Channel(theirs)


@pytest.mark.parametrize("count", [0, 1, 127, 128, 129, 253, 254, 1000])
def test_descriptors_arrive_in_their_order_however_many(count: int, ends: tuple[Channel, Channel]) -> None:
    main, worker = ends
    with TemporaryFile() as one, TemporaryFile() as other:
        sent = [(one, other)[place % 3 == 0].fileno() for place in range(count)]
        sender = threading.Thread(target=main.send, args=(5, Park(1.0), sent))
        sender.start()
        number, message, descriptors = worker.receive()
        sender.join()
        assert (number, message, len(descriptors)) == (5, Park(1.0), count)
        assert all(os.path.sameopenfile(*pair) for pair in zip(sent, descriptors, strict=True))
        assert not any(map(os.get_inheritable, descriptors))
        for descriptor in descriptors:
            os.close(descriptor)


def test_large_messages_follow_each_other(ends: tuple[Channel, Channel]) -> None:
    main, worker = ends
    answers = [Done(1.0, Written([bytes(size)], {}, {})) for size in (3, 1 << 22, 0, 1 << 16, (1 << 16) - 40)]

    def send() -> None:
        for number, answer in enumerate(answers):
            worker.send(number, answer)

    sender = threading.Thread(target=send)
    sender.start()
    taken: list[Any] = []
    while len(taken) < len(answers):
        taken += main.take()
    sender.join()
    assert taken == list(enumerate(answers))


def test_a_message_above_4_gb_is_waited_for(ends: tuple[Channel, Channel]) -> None:
    main, worker = ends
    worker.socket.sendall((5 << 30).to_bytes(8, "little") + bytes(4) + b"its beginning")
    assert main.take() == []
    worker.close()
    with pytest.raises(Gone):
        main.take()


def test_the_end_of_the_other_process_is_told_by_every_call(ends: tuple[Channel, Channel]) -> None:
    main, worker = ends
    worker.close()
    with pytest.raises(Gone):
        main.send(0, Park(1.0))
    with pytest.raises(Gone):
        main.take()
    with pytest.raises(Gone):
        main.receive()


class Asked:
    def discard(self) -> None:
        """Nothing hangs on it."""


def test_an_answer_is_never_taken_for_that_to_another_question(ends: tuple[Channel, Channel]) -> None:
    main, process = ends
    worker = Worker(main, Board(), 0, lambda line: None, lambda pid, number: None)
    first, second = Asked(), Asked()
    for question, step in ((first, 1), (second, 2)):
        worker.ask(question, Run(0, step, 1, 0))
    runs = {message.step: number for number, message, _ in (process.receive(), process.receive())}
    for number in (runs[2], 0, 10**9, runs[2], runs[1]):
        process.send(number, Done(float(number), Written.nothing()))
    assert [(asked, answer.seconds) for asked, answer in worker.answers()] == [(second, runs[2]), (first, runs[1])]
    assert not worker.pending
    worker.close()


class Many:
    """A data set of so many MemorySources, each in a segment of its own."""

    def __init__(self, count: int) -> None:
        self.parts = [MemorySource(MemorySourceConfig(), {"x": np.full(4, part)}) for part in range(count)]
        for part in self.parts:
            part.place()

    def __len__(self) -> int:
        return 2 * len(self.parts)

    def __getitem__(self, number: int) -> Any:
        return self.parts[number // 2][number % 2]


@pytest.mark.parametrize("count", [1, 63, 64, 253, 1000])
def test_a_program_may_lie_in_any_number_of_segments(count: int) -> None:
    with Pipeline(source=Many(count), batch_size=16, num_workers=2, output="numpy") as pipeline:
        assert [n for batch in pipeline for n in batch["x"].tolist()] == [n // 2 for n in range(2 * count)]


def test_a_process_that_may_not_open_so_many_says_so() -> None:
    def lowers_its_limit(record: Any) -> Any:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return record

    pool().close()  # the worker that does it is the one that is parked
    with Pipeline(source=np.arange(9), batch_size=3, num_workers=1, stages=[lowers_its_limit]) as pipeline:
        list(pipeline)
    with (
        Pipeline(source=Many(100), batch_size=16, num_workers=1, output="numpy") as pipeline,
        pytest.raises(OSError, match=r"101 pieces of shared memory, and this process may open only \d+ \(ulimit -n\)"),
    ):
        list(pipeline)
    pool().close()  # nobody else is to get that worker


def test_a_working_directory_that_has_been_deleted_is_no_trouble(run_script: Callable[..., Any]) -> None:
    run_script(
        "import os, tempfile\n"
        "folder = tempfile.mkdtemp()\n"
        "os.chdir(folder)\n"
        "import numpy as np\n"
        "from datarax_mp import Pipeline\n"
        "for late in (False, True):\n"
        "    if not late:\n"
        "        os.rmdir(folder)\n"
        "    with Pipeline(source=np.arange(40), batch_size=4, num_workers=2, output='numpy') as pipeline:\n"
        "        assert [n for batch in pipeline for n in batch['value'].tolist()] == list(range(40))\n"
    )
