from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

from datarax_mp import Pipeline, WorkerError
from datarax_mp.core.errors import RemoteError, WorkerTraceback, describe_exit
from datarax_mp.core.notes import add_note


class Odd(Exception):
    """Pickles, but does not unpickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Stubborn(Exception):
    """Does not even pickle."""

    def __reduce__(self) -> Any:
        raise RuntimeError("no")


def packed(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return RemoteError.of(caught).restore()


def test_an_exception_arrives_with_type_notes_and_the_traceback_as_cause() -> None:
    error = KeyError("k")
    error.add_note("while reading record 3")
    arrived = packed(error)
    assert type(arrived) is KeyError
    assert arrived.__notes__ == ["while reading record 3"]
    assert isinstance(arrived.__cause__, WorkerTraceback)
    assert "raise error" in str(arrived.__cause__)


class Frozen(Exception):
    """Lets nobody set an attribute."""

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Reduced(Exception):
    """Makes its copy itself, without the notes."""

    def __reduce__(self) -> Any:
        return Reduced, ("copied",)


class Held(Exception):
    """Keeps what does not pickle."""

    def __init__(self) -> None:
        super().__init__("held")
        self.lock = threading.Lock()


class Panic(BaseException):
    """As native code raises it."""


@pytest.mark.parametrize("error", [Odd("one", "two"), Stubborn("text"), Panic("p"), Frozen("f"), OSError(2, "no")])
def test_an_exception_arrives_as_its_own_type_where_args_and_attributes_suffice(error: BaseException) -> None:
    BaseException.__setattr__(error, "place", 7)
    add_note(error, "while reading record 3")
    arrived = packed(error)
    assert type(arrived) is type(error)
    assert arrived.args == error.args
    assert arrived.place == 7  # type: ignore[attr-defined]
    assert arrived.__notes__ == ["while reading record 3"]
    assert isinstance(arrived.__cause__, WorkerTraceback)


def test_notes_survive_a_reduce_that_forgets_them() -> None:
    error = Reduced("first")
    error.add_note("a note")
    arrived = packed(error)
    assert (type(arrived), arrived.args, arrived.__notes__) == (Reduced, ("copied",), ["a note"])


@pytest.mark.parametrize("error", [Held(), SystemExit(3), KeyboardInterrupt()])
def test_what_does_not_survive_the_journey_arrives_as_text(error: BaseException) -> None:
    arrived = packed(error)
    assert isinstance(arrived, WorkerError)
    assert type(error).__name__ in str(arrived)


@pytest.mark.parametrize("error", [StopIteration(1), StopAsyncIteration()])
def test_what_would_end_the_callers_loop_arrives_as_an_error_with_its_notes_and_traceback(error: Exception) -> None:
    error.add_note("while reading record 3")
    arrived = packed(error)
    assert type(arrived) is RuntimeError
    assert type(error).__name__ in str(arrived)
    assert arrived.__notes__ == ["while reading record 3"]
    assert isinstance(arrived.__cause__, WorkerTraceback)


def test_ends_in_words() -> None:
    assert describe_exit(-signal.SIGKILL).startswith("SIGKILL(-9)")
    assert describe_exit(3).startswith("exit code 3")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("kind", "args"), [(ZeroDivisionError, ("z",)), (Odd, ("one", "two")), (Held, ()), (Panic, ("p",))]
)
def test_an_exception_in_a_stage_names_stage_record_and_step(workers: int, kind: Any, args: tuple[str, ...]) -> None:
    def fail(record: int) -> dict[str, int]:
        if record == 25:
            raise kind(*args)
        return {"n": record}

    received = []
    with Pipeline(source=list(range(40)), batch_size=4, num_workers=workers, stages=[fail]) as pipeline:
        with pytest.raises((kind, WorkerError)) as caught:
            for batch in pipeline:
                received += batch["n"].tolist()
        assert received == list(range(24))
    told = str(caught.value) + "\n".join(getattr(caught.value, "__notes__", ()))
    assert "stage MapElement(fail) worked on record 25" in told
    assert "step 6 of epoch 0" in told
    if workers:
        assert "in worker process" in told
        assert isinstance(caught.value.__cause__, WorkerTraceback)
        assert "raise kind" in str(caught.value.__cause__)
