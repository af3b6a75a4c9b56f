"""A directive that documents every public name of a module: ``.. public-names:: datarax_mp``."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class PublicNames(SphinxDirective):
    """Writes an ``autoclass``, ``autofunction`` or ``autodata`` for each name in ``__all__``."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of the reference."""
        name = self.arguments[0]
        module = importlib.import_module(name)
        lines = StringList()
        for public in sorted(set(module.__all__) - {"__version__"}, key=str.lower):
            for line in self._lines(f"{name}.{public}", getattr(module, public)):
                lines.append(line, f"<public names of {name}>")
        node = nodes.section()
        node.document = self.state.document
        self.state.nested_parse(lines, 0, node)
        return node.children

    @staticmethod
    def _lines(path: str, value: Any) -> list[str]:
        if inspect.isclass(value):
            # What is written in classes of ours that a class consists of is its own; what others have given it is not.
            theirs = [base.__name__ for base in value.__mro__ if not base.__module__.startswith("datarax_mp")]
            options = ["   :members:", f"   :inherited-members: {', '.join(theirs)}"]
            options = options if not issubclass(value, BaseException) else []
            return [f".. autoclass:: {path}", *options, ""]
        return [f".. {'autofunction' if callable(value) else 'autodata'}:: {path}", ""]


def keep_colons(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A property's first sentence with a colon: Napoleon would take what stands before it for the type."""
    if what == "property" and lines:
        lines[0] = lines[0].replace(": ", " \N{EN DASH} ")


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive known."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", keep_colons, priority=1)
    return {"parallel_read_safe": True}
