"""What a command is about, named as ``module:attribute``."""

from __future__ import annotations

import importlib
import sys
from functools import reduce
from typing import TYPE_CHECKING, Any

from datarax_mp.commands.table import Refused

if TYPE_CHECKING:
    from datarax_mp.pipeline import Pipeline

HELP = "module:attribute, a Pipeline or a function without arguments that makes one"


def pipeline_at(name: str) -> Pipeline[Any]:
    """Import what ``module:attribute`` names, and call it if it is no pipeline yet.

    The module is looked for as ``python -m`` does: in the current folder first. Whatever it raises comes out unchanged.

    Raises:
        Refused: there is no such module or attribute, or it is no pipeline.
    """
    from datarax_mp.pipeline import Pipeline

    found = named(name, HELP)
    made = found if isinstance(found, Pipeline) or not callable(found) else found()
    if not isinstance(made, Pipeline):
        raise Refused(f"{name} must be {HELP.partition(', ')[2]}; found a {type(made).__name__}")
    return made


def named(name: str, expected: str) -> Any:
    """Import what ``module:attribute`` names.

    Args:
        name: that.
        expected: what it should be, for messages.

    Raises:
        Refused: there is no such module or attribute.
    """
    module, colon, path = name.partition(":")
    if not (module and colon and path):
        raise Refused(f"expected {expected}, as in train:pipeline, found {name!r}")
    try:
        home = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and lacks one of its own
        raise Refused(f"there is no module {error.name!r} in {sys.path[0] or 'the current folder'}") from None
    try:
        return reduce(getattr, path.split("."), home)
    except AttributeError as error:
        raise Refused(f"{name}: {error}") from None
