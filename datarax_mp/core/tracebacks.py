"""Tracebacks that show the user's code, not what this package does around it.

    for batch in pipeline:       the caller's line                     kept
    datarax_mp/pipeline/...      how the batch is asked for            left out by ``for_user``
    datarax_mp/recipe/...        how the record is come by             left out
    def stage(record): ...       the user's line, up to what raised    kept

A notebook shows every frame with its surroundings, so that ours would fill the screen and hide the one that matters.
"""

from __future__ import annotations

import linecache
import re
import traceback
from pathlib import Path
from types import TracebackType

_PACKAGE = Path(__file__).parent.parent
_MACHINERY = tuple(
    f"{_PACKAGE / folder}/" for folder in ("core", "crews", "delivery", "feed", "pipeline", "recipe", "shipping")
)

_FRAME = re.compile(r'(?P<margin>[ |]*)File "(?P<file>.+)", line (?P<line>\d+), in ')


def users_part(at: TracebackType | None) -> TracebackType | None:
    """A traceback from its first frame on that is not this package's own machinery; None if all of it is."""
    while at is not None and at.tb_frame.f_code.co_filename.startswith(_MACHINERY):
        at = at.tb_next
    return at


def text_of(error: BaseException) -> str:
    """The traceback of an exception that is being handled, as text; it begins with the user's frame if there is one.

    An error that this package raises on purpose has no frames where there is none of the user's: its message says all.
    """
    at = users_part(error.__traceback__)
    if at is None and not _is_ours(error):
        at = error.__traceback__
    return "".join(traceback.format_exception(type(error), error, at))


def with_source(text: str) -> str:
    """A traceback's text with the source lines that were not there where it was written.

    The cells of a notebook are no files. A worker knows the number of a line in one, this process the line.
    """
    lines = text.split("\n")
    shown = []
    for place, line in enumerate(lines):
        shown.append(line)
        found = _FRAME.match(line)
        if found is None:
            continue
        margin = found["margin"] + "  "
        source = linecache.getline(found["file"], int(found["line"])).strip()
        if source and not "".join(lines[place + 1 : place + 2]).startswith(margin):
            shown.append(margin + source)
    return "\n".join(shown)


def for_user(error: BaseException) -> BaseException:
    """An exception that is about to be raised to the user, without the frames of ours that it has come through.

    What is no error of the user's code and none that this package raises on purpose keeps them.
    """
    rest = users_part(error.__traceback__)
    if rest is not None or _is_ours(error) or _is_ours(error.__cause__):
        error.__traceback__ = rest
    return error


def _is_ours(error: BaseException | None) -> bool:
    return type(error).__module__.startswith(f"{_PACKAGE.name}.")
