"""One thread at a time works with something that anybody may close, and an exception may come into any line."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from datarax_mp.core import owned as module
from datarax_mp.core.owned import Owned
from tests.lines import AtLine, Lines, count

SECONDS = 20.0  # only reached if somebody waits for ever


class Book:
    """Something owned: a line is written in two halves, and nobody may see the first one alone."""

    def __init__(self) -> None:
        self.owned = Owned("book", "write another one")
        self.pages: list[str] = []
        self.half = ""
        self.ends: list[bool] = []
        self.in_the_middle: Callable[[], None] = lambda: None

    def write(self, text: str) -> str:
        if self.owned.holder is not None or self.owned.foreign:
            self.owned.check()
        try:
            return self.owned.do(lambda: self.put_down(text), self.end_here)
        except BaseException:
            self.owned.break_off(self.end_here)
            raise

    def put_down(self, text: str) -> str:
        assert self.half == "", "half of another line"
        self.half = text[:1]
        in_the_middle, self.in_the_middle = self.in_the_middle, lambda: None
        in_the_middle()
        self.pages.append(self.half + text[1:])
        self.half = ""
        return text

    def end_here(self, whole: bool) -> None:
        self.ends.append(whole)
        self.half = ""

    def close(self, timeout: float = 0.0, wake: Callable[[], None] = lambda: None) -> None:
        self.owned.close(wake, self.end_here, timeout)


def is_ours(frame: FrameType) -> bool:
    """Whether a frame is of the module under test, or of ``Book``."""
    return frame.f_code.co_filename in (module.__file__, __file__) and type(frame.f_locals.get("self")) in (Owned, Book)


LINES = Lines(in_frame=is_ours, spares=lambda line: False)


def lines_of(use: Callable[[Book], object]) -> range:
    book = Book()
    total = count(lambda: use(book), LINES)
    assert total > 5
    return range(1, total + 1)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def waiting(begun: threading.Event, go_on: threading.Event) -> Callable[[], None]:
    def wait() -> None:
        begun.set()
        assert go_on.wait(SECONDS)

    return wait


def is_free(book: Book) -> bool:
    """Whether another thread can come in, and finds nothing half done."""
    thread = in_thread(lambda: book.write("xyz"))
    thread.join(SECONDS)
    return not thread.is_alive() and book.pages[-1:] == ["xyz"]


def test_a_thread_waits_until_the_one_inside_has_come_out() -> None:
    book, begun, go_on = Book(), threading.Event(), threading.Event()
    book.in_the_middle = waiting(begun, go_on)
    first = in_thread(lambda: book.write("one"))
    assert begun.wait(SECONDS)
    second = in_thread(lambda: book.write("two"))
    second.join(0.05)
    assert second.is_alive()
    assert not book.owned.inside()
    book.owned.check()  # it may come in; it only has to wait
    go_on.set()
    first.join(SECONDS)
    second.join(SECONDS)
    assert (book.pages, book.ends) == (["one", "two"], [])


def test_a_handler_in_the_middle_cannot_come_in_and_is_told_so() -> None:
    book = Book()

    def handler() -> None:
        assert book.owned.inside()
        with pytest.raises(RuntimeError, match="this book is in the middle of another call"):
            book.write("two")

    book.in_the_middle = handler
    assert book.write("one") == "one"
    assert (book.pages, book.ends) == (["one"], [])
    assert not book.owned.inside()


def test_what_a_handler_wants_closed_is_closed_on_the_way_out() -> None:
    book = Book()

    def handler() -> None:
        book.close()
        assert book.owned.closing
        assert (book.owned.closed, book.ends) == (False, [])

    book.in_the_middle = handler
    assert book.write("one") == "one"
    assert (book.owned.closed, book.ends) == (True, [True])


def test_what_another_thread_wants_closed_is_closed_by_the_one_inside_if_it_takes_too_long() -> None:
    book, begun, woken = Book(), threading.Event(), threading.Event()
    book.in_the_middle = waiting(begun, woken)
    thread = in_thread(lambda: book.write("one"))
    assert begun.wait(SECONDS)
    book.close(timeout=0.01)
    assert (book.owned.closed, book.ends) == (False, [])
    book.close(timeout=SECONDS, wake=woken.set)  # and this one waits for it
    assert (book.owned.closed, book.pages) == (True, ["one"])
    thread.join(SECONDS)
    assert set(book.ends) == {True}


def test_it_is_closed_once() -> None:
    book, woken = Book(), list[int]()
    for _ in range(3):
        book.close(wake=lambda: woken.append(1))
    assert (book.ends, woken) == ([True], [1])


def test_what_is_not_whole_is_ended_before_another_thread_comes_in() -> None:
    book, others = Book(), list[threading.Thread]()

    def handler() -> None:
        others.append(in_thread(lambda: book.write("two")))
        raise KeyboardInterrupt

    book.in_the_middle = handler
    with pytest.raises(KeyboardInterrupt):
        book.owned.do(lambda: book.put_down("one"), book.end_here)
    others[0].join(SECONDS)
    assert (book.pages, book.ends) == (["two"], [False])


@pytest.mark.parametrize("closing", [False, True])
def test_an_exception_at_any_line_comes_out_unchanged_and_leaves_it_free(closing: bool) -> None:
    def use(book: Book) -> None:
        if closing:
            book.in_the_middle = book.close
        book.write("one")

    for line in lines_of(use):
        book, error = Book(), KeyboardInterrupt()

        def act(error: BaseException = error) -> None:
            raise error

        with AtLine(line, act, LINES), pytest.raises(KeyboardInterrupt) as caught:
            use(book)
        assert caught.value is error
        assert book.half == ""
        assert book.pages in ([], ["one"])
        assert book.pages or not book.ends or False in book.ends
        assert is_free(book)


def test_a_handler_at_any_line_may_close_it() -> None:
    for line in lines_of(lambda book: book.write("one")):
        book = Book()
        with AtLine(line, book.close, LINES):
            assert book.write("one") == "one"
        book.close()
        assert (book.pages, book.owned.closed) == (["one"], True)
        assert is_free(book)


def test_a_handler_at_any_line_writes_a_whole_line_or_is_refused() -> None:
    refused = 0
    for line in lines_of(lambda book: book.write("one")):
        book, found = Book(), list[str]()

        def handler(book: Book = book, found: list[str] = found) -> None:
            try:
                found.append(book.write("two"))
            except RuntimeError:
                found.append("refused")

        with AtLine(line, handler, LINES):
            book.write("one")
        refused += found == ["refused"]
        assert sorted(book.pages) == (["one"] if found == ["refused"] else ["one", "two"])
        assert is_free(book)
    assert refused


def test_a_forked_process_leaves_it_to_its_parent(run_script: Callable[..., Any]) -> None:
    done = run_script(
        """
import os, sys
from datarax_mp.core.owned import Owned
from tests.lines import AtLine, Lines, count

ends = []
owned = Owned("book", "write another one")

def work():  # forked in the middle of it
    child = os.fork()
    if not child:
        assert owned.holder is not None and owned.foreign
    return child

child = owned.do(work, ends.append)
if child == 0:
    try:
        owned.check()
    except RuntimeError as error:
        print(error, flush=True)
    owned.close(lambda: ends.append("woken"), ends.append, 1)
    os._exit(0 if (ends, owned.closed) == ([], False) else 1)
assert os.waitpid(child, 0)[1] == 0
owned.check()
owned.close(lambda: None, ends.append, 1)
assert ends == [True]
print(os.getpid(), child)
"""
    )
    told, pids = done.stdout.splitlines()
    parent, child = pids.split()
    assert told == (f"this book belongs to process {parent}, and process {child} was forked from it; write another one")


def test_what_a_forked_process_makes_is_its_own(run_script: Callable[..., Any]) -> None:
    run_script(
        """
import os
from datarax_mp.core.owned import Owned
from tests.lines import AtLine, Lines, count

child = os.fork()
owned = Owned("book", "write another one")
owned.check()
assert owned.do(lambda: 6, [].append) == 6
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    )
