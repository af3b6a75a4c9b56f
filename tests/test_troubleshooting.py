"""docs/troubleshooting.md: what it says that messages say, they say, and every one can be linked to."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.documentation import ROOT, said

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
LINE = re.compile(r"(?:\(([a-z0-9-]+)\)=\n)?^(#{2,3}) (.*)$", re.MULTILINE)


def texts(node: ast.AST) -> Iterator[str]:
    """The texts in some code, whole where they are put together of several."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else said.FOUND for part in node.values)  # type: ignore[misc]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def documented(node: ast.AST) -> set[int]:
    """The docstrings: what they say about a message is not the message."""
    kinds = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    bodies = (each.body for each in ast.walk(node) if isinstance(each, kinds) and each.body)
    return {id(body[0]) for body in bodies if isinstance(body[0], ast.Expr)}


def messages() -> list[str]:
    """All texts of the package that may be a message."""
    found = []
    for path in (ROOT / "datarax_mp").rglob("*.py"):
        tree = ast.parse(path.read_text())
        docstrings = documented(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.stmt) and id(node) not in docstrings:
                found += list(texts(node))
    return [re.sub(r"\s+", " ", text) for text in dict.fromkeys(found)]


ALL = messages()
ENTRIES = [(anchor, title) for anchor, marks, title in LINE.findall(PAGE) if marks == "###"]
QUOTED = said.explained(PAGE)


@pytest.mark.parametrize(("anchor", "quoted"), QUOTED)
def test_the_package_says_what_the_page_says_that_it_says(anchor: str, quoted: str) -> None:
    assert any(map(said.like(quoted).search, ALL)), quoted


def test_every_entry_has_an_anchor_of_its_own() -> None:
    anchors = Counter(anchor for anchor, _ in ENTRIES)
    assert "" not in anchors
    assert [anchor for anchor, count in anchors.items() if count > 1] == []


def test_every_anchor_of_the_page_that_is_named_anywhere_exists() -> None:
    known = {anchor for anchor, _ in ENTRIES}
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "datarax_mp").rglob("*.py")]:
        named = re.findall(r"troubleshooting(?:\.md|\.html)?#([a-z0-9-]+)", path.read_text())
        assert set(named) <= known, path


def test_a_title_is_messages_alone_or_has_none() -> None:
    for _, title in ENTRIES:
        quoted = [f'"{message}"' for message in re.findall(r'"(.+?)"(?= or |$)', title)]
        assert '"' not in title or title == " or ".join(quoted)


def test_the_page_has_the_messages_that_people_meet() -> None:
    assert len(QUOTED) >= 60
