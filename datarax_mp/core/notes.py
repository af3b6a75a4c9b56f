"""Notes on exceptions of any class."""

from __future__ import annotations


def add_note(error: BaseException, note: str) -> None:
    """What ``BaseException.add_note`` does, also where the class lets nobody set attributes (a frozen dataclass).

    >>> error = ValueError("no")
    >>> add_note(error, "while reading record 3")
    >>> error.__notes__
    ['while reading record 3']
    """
    set_notes(error, [*getattr(error, "__notes__", ()), note])


def set_notes(error: BaseException, notes: list[str]) -> None:
    """Replace all notes."""
    BaseException.__setattr__(error, "__notes__", notes)
