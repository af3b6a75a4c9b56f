"""Which columns of a file are wanted."""

from __future__ import annotations

from collections.abc import Sequence


def wanted_columns(columns: Sequence[str] | None) -> list[str] | None:
    """The names of columns that are wanted; None is all.

    Raises:
        TypeError: it is a single name.
    """
    if isinstance(columns, str):
        raise TypeError(f"columns must be a list of names, got {columns!r}; one column is [{columns!r}]")
    return None if columns is None else list(columns)


def check_columns(path: str, wanted: Sequence[str], names: Sequence[str]) -> None:
    """Make sure that a file has the columns that are wanted, each once.

    Raises:
        ValueError: one is not there, or there are two.
    """
    for name in wanted:
        if name not in names:
            raise ValueError(f"{path}: there is no column {name!r}; there are {', '.join(names)}")
        if list(names).count(name) > 1:
            raise ValueError(f"{path}: two columns are called {name!r}, and a field's name stands for one")
