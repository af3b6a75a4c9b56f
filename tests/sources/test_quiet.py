"""Warnings of Pillow's are not heard while images are decoded, and filters are afterwards what they were."""

from __future__ import annotations

import threading
import warnings

import pytest

from datarax_mp.sources.quiet import quiet

SECONDS = 20.0


def warn() -> None:
    warnings.warn_explicit("odd metadata", UserWarning, "Image.py", 1, module="PIL.Image")


def test_threads_that_leave_in_another_order_than_they_came_leave_the_filters_as_they_were() -> None:
    before = list(warnings.filters)
    first_in, second_in, first_out = threading.Event(), threading.Event(), threading.Event()
    trouble: list[BaseException] = []

    def first() -> None:
        with quiet():
            first_in.set()
            second_in.wait(SECONDS)
            warn()
        first_out.set()

    def second() -> None:
        try:
            first_in.wait(SECONDS)
            with quiet():
                second_in.set()
                first_out.wait(SECONDS)
                warn()  # the first one has left, and it is quiet still
        except BaseException as error:
            trouble.append(error)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert trouble == []
    assert warnings.filters == before
    with pytest.raises(UserWarning, match="odd metadata"):
        warn()  # warnings are errors here


def test_filters_that_somebody_else_puts_in_force_meanwhile_are_left_alone() -> None:
    before = list(warnings.filters)
    outer = quiet()
    outer.__enter__()
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        mine = list(warnings.filters)
        outer.__exit__(None, None, None)
        assert [one for one in mine if one not in warnings.filters] == [mine[1]]
    assert warnings.filters == before
