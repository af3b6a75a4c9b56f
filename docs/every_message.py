"""A directive that lists every error and warning of a package, each with an anchor: ``every-message:: datarax_mp``."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from said import Message, explained, like, messages
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class EveryMessage(SphinxDirective):
    """Writes a section for each folder of the package, with its messages."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The sections."""
        package = Path(importlib.import_module(self.arguments[0]).__path__[0])
        page = Path(self.env.doc2path("troubleshooting"))
        self.env.note_dependency(str(page))
        known = [(like(quoted), label) for label, quoted in explained(page.read_text())]
        rooms: dict[str, nodes.section] = {}
        for message in messages(package):
            if message.room not in rooms:
                section = rooms[message.room] = nodes.section(ids=[f"messages-of-{message.room}"])
                section += nodes.title(text=message.room)
            rooms[message.room] += self._entry(message, known)
        return list(rooms.values())

    def _entry(self, message: Message, known: list[tuple[re.Pattern[str], str]]) -> nodes.container:
        words = nodes.paragraph(ids=[message.anchor], support_smartquotes=False)  # as a terminal shows it
        words += nodes.literal(text=" or ".join(message.kinds))
        words += nodes.Text(f" {message.text} ")
        words += nodes.reference(text="#", refuri=f"#{message.anchor}", internal=True)
        where = nodes.paragraph(classes=["message-place"])
        where += nodes.Text("; ".join(message.places))
        for pattern, label in known:
            if pattern.search(message.text):
                where += nodes.Text(". ")
                link = addnodes.pending_xref(
                    "", refdomain="std", reftype="ref", reftarget=label, refexplicit=True, refwarn=True
                )
                link["refdoc"] = self.env.docname
                link += nodes.inline(text="What it means")
                where += link
                break
        return nodes.container("", words, where, classes=["message"])


def setup(app: Sphinx) -> dict[str, Any]:
    """Make the directive known."""
    app.add_directive("every-message", EveryMessage)
    return {"parallel_read_safe": True}
