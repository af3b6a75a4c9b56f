"""The page of a process: others read it, whatever its writer is at."""

from __future__ import annotations

import gc
import os
from typing import Any

import pytest

from datarax_mp.monitoring.live import Live
from datarax_mp.monitoring.page import MOST, NAME, SIZE, Page, PageView


class Says:
    """Something that has something to say."""

    def __init__(self, **what: Any) -> None:
        self.what = what

    def described(self) -> dict[str, Any]:
        return self.what


def view(page: Page) -> PageView:
    return PageView(os.dup(page._fd))  # noqa: SLF001 (as it is found behind /proc)


def links() -> list[str]:
    """What this process has open and names so."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    return [link for link in found if NAME in link]


def test_what_was_said_last_is_read() -> None:
    page = Page()
    seen = view(page)
    assert seen.read() == {}
    for number in range(5):
        page.write({"number": number, "text": "é" * number * 1000})
        assert seen.read() == {"number": number, "text": "é" * number * 1000}
    assert seen.pid == os.getpid()


def test_a_writer_that_stops_in_the_middle_leaves_the_last_whole_text() -> None:
    page = Page()
    seen = view(page)
    page.write({"whole": True})
    length = len(b'{"whole": false}')
    for cut in range(length):
        start = 4096 + (1 - page._cells[4]) * 128 * 1024  # noqa: SLF001
        page._memory[start : start + cut] = b'{"whole": false}'[:cut]  # noqa: SLF001
        assert seen.read() == {"whole": True}


def test_a_text_that_is_too_long_is_not_said() -> None:
    page = Page()
    page.write({"short": 1})
    page.write({"long": "x" * SIZE})
    assert view(page).read() == {"short": 1}


def test_states_are_seen_at_once_and_apart() -> None:
    page = Page()
    first, last, seen = page.state(0), page.state(MOST - 1), view(page)
    first[0], first[1], first[2] = 1.5, 2.5, 7
    last[0] = 9.0
    assert seen.state(0) == (1.5, 2.5, 7)
    assert seen.state(MOST - 1) == (9.0, 0.0, 0)


def test_memory_that_is_no_page_is_refused() -> None:
    for content in (b"", b"\0" * SIZE):
        fd = os.memfd_create("other")
        os.write(fd, content)
        with pytest.raises(ValueError, match="page"):
            PageView(fd)


def test_a_page_goes_with_whoever_made_it() -> None:
    gc.collect()  # the pages of other tests
    before = len(links())
    page = Page()
    assert len(links()) > before
    del page
    gc.collect()
    assert len(links()) == before


def test_a_page_whose_descriptor_other_code_closes_is_made_anew() -> None:
    live = Live()
    says = Says(a=1)
    live.tell(says, says.described)
    first = live._page  # noqa: SLF001
    assert first is not None
    os.close(first._fd)  # noqa: SLF001
    live.tell(says, says.described)
    second = live._page  # noqa: SLF001
    assert second is not None and second is not first
    assert view(second).read()["pipelines"] == [{"place": 0, "a": 1}]


def test_each_pipeline_has_its_place_until_it_is_closed_or_gone() -> None:
    live, some = Live(), [Says(number=number) for number in range(MOST)]
    assert all(live.tell(says, says.described) is not None for says in some)
    one_more = Says(number=-1)
    assert live.tell(one_more, one_more.described) is None  # there is no room
    live.forget(some[3])
    del some[5]
    gc.collect()
    assert live.tell(one_more, one_more.described) is not None
    page = live._page  # noqa: SLF001
    assert page is not None
    numbers = [one["number"] for one in view(page).read()["pipelines"]]
    assert sorted(numbers) == sorted({*range(MOST)} - {3, 5} | {-1})


def test_without_memfd_nobody_can_look_and_nothing_else_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    says = Says()
    assert Live().tell(says, says.described) is None


def test_whoever_comes_while_another_writes_is_not_kept_waiting() -> None:
    live = Live()

    class Again(Says):
        def described(self) -> dict[str, Any]:
            assert live.tell(self, self.described) is None
            return super().described()

    again = Again(a=1)
    assert live.tell(again, again.described) is not None
