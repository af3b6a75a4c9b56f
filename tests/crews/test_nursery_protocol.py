"""What main and a nursery say to each other arrives as it was sent, as a whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from socket import getdefaulttimeout, setdefaulttimeout, socket

import pytest

from datarax_mp.core.descriptors import connection
from datarax_mp.crews.processes.nursery_protocol import (
    Ended,
    EndUnlessDone,
    Fork,
    Notice,
    Request,
    Signal,
    Started,
    Unload,
    ask,
    next_notice,
    next_request,
    tell,
)

Ends = tuple[socket, socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    main, nursery = connection()
    with main, nursery:
        yield main, nursery


@pytest.mark.parametrize(
    "request_", [Fork(4095), EndUnlessDone(1 << 22, 1 << 40, 2.5), Signal(77, 9), Unload(2_000_000_000)]
)
def test_requests_arrive_as_they_were_made(ends: Ends, request_: Request) -> None:
    main, nursery = ends
    ask(main, request_)
    assert next_request(nursery) == (request_, [])


@pytest.mark.parametrize("notice", [Started(3, 1 << 22, 0), Started(3, -1, 11), Ended(1 << 22, -9)])
def test_notices_arrive_as_they_were_made(ends: Ends, notice: Notice) -> None:
    main, nursery = ends
    tell(nursery, notice)
    assert next_notice(main) == (notice, [])


def test_nobody_waits_for_a_notice_that_another_thread_has_taken() -> None:
    before = getdefaulttimeout()
    setdefaulttimeout(30.0)  # a program's own; it would be waited for, and be another error
    try:
        main, nursery = connection()
    finally:
        setdefaulttimeout(before)
    with main, nursery, pytest.raises(BlockingIOError):
        next_notice(main)


def test_descriptors_come_along_with_their_message(ends: Ends) -> None:
    main, nursery = ends
    read, write = os.pipe()
    ask(main, Fork(0), write)
    ask(main, Fork(1))
    tell(nursery, Started(0, 5, 0), [read, write])
    (first, asked), second, (_, told) = next_request(nursery), next_request(nursery), next_notice(main)  # type: ignore[misc]
    assert (first, second, len(asked), len(told)) == (Fork(0), (Fork(1), []), 1, 2)
    os.write(asked[0], b"x")
    assert os.read(told[0], 1) == b"x"
    for descriptor in (read, write, *asked, *told):
        os.close(descriptor)


def test_the_end_of_the_connection_is_no_message(ends: Ends) -> None:
    main, nursery = ends
    tell(nursery, Ended(5, 0))
    nursery.close()
    assert next_notice(main) == (Ended(5, 0), [])
    assert next_notice(main) is None
    with pytest.raises(BrokenPipeError):
        ask(main, Fork(0))


def test_main_does_not_wait_for_a_nursery_that_does_not_read(ends: Ends) -> None:
    main, nursery = ends
    asked = 0
    with pytest.raises(BlockingIOError):
        while True:
            ask(main, Signal(asked, 1))
            asked += 1
    for number in range(asked):
        assert next_request(nursery) == (Signal(number, 1), [])  # and not a piece of one more
    ask(main, Fork(0))
    assert next_request(nursery) == (Fork(0), [])
