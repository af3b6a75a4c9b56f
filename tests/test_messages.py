"""docs/messages.md: every error and warning of the package is on it, under an anchor that stays."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.documentation import ROOT, said

PACKAGE = ROOT / "datarax_mp"


ALL = said.messages(PACKAGE)


def texts(node: ast.AST) -> Iterator[str]:
    """The texts in an argument, but for what other functions are given."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif not isinstance(node, ast.Call):
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


def raised() -> Iterator[tuple[str, int, str]]:
    """Of each error that is raised with words of its own file, line, and the longest words that stand there."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            called = re.sub(r".*\.", "", ast.unparse(node.exc.func))
            if name in said.INTERNAL or not re.fullmatch(r"[A-Z]\w*Error", called):
                continue
            words = [re.sub(r"\s+", " ", text).strip() for each in node.exc.args for text in texts(each)]
            if longest := max((text for text in words if len(text.split()) >= 4), key=len, default=""):
                yield name, node.lineno, longest


def test_every_error_that_is_raised_with_words_is_found() -> None:
    found = [message.text for message in ALL]
    sites = list(raised())
    assert len(sites) > 300
    assert [site for site in sites if not any(site[2] in text for text in found)] == []


def test_what_is_explained_is_found_but_what_is_only_logged() -> None:
    quoted = [text for _, text in said.explained((ROOT / "docs" / "troubleshooting.md").read_text())]
    assert len(quoted) > 60
    found = [message.text for message in ALL]
    missing = [text for text in quoted if not any(map(said.like(text).search, found))]
    assert missing == ["a new worker takes its place and does the work again"]


def test_what_is_left_out_is_there() -> None:
    assert all((PACKAGE / name).is_file() for name in said.INTERNAL)


def test_anchors_are_unique_and_can_stand_in_a_link() -> None:
    anchors = [message.anchor for message in ALL]
    assert len(set(anchors)) == len(anchors)
    assert all(re.fullmatch(r"[a-z0-9-]+", anchor) for anchor in anchors)


CODE = """
def check(value, name):
    if value is None:
        raise TypeError(f"{name} must be a number, " + f"got {value!r}")
    if value < 0:
        raise ValueError(_negative(name))
    warnings.warn("it is very large" if value > 9 else "large", ResourceWarning)


def _negative(name):
    return f"{name} is below zero"
"""


def test_texts_are_put_together_and_helpers_are_followed() -> None:
    assert list(said.said(ast.parse(CODE))) == [
        ("TypeError", "... must be a number, got ...", "check"),
        ("ValueError", "... is below zero", "check"),
        ("ResourceWarning", "it is very large", "check"),
    ]


PUT_TOGETHER = """
_TABLE = {1: "is one of {all}", 2: "is two of {all}"}

def check(value, name):
    told = f"{name} is not what was expected"
    if (trouble := _trouble(value)) is not None:
        raise ValueError(f"{told}; {trouble}")
    raise ValueError(f"it {_TABLE[value].format(all=name)} here")


def _trouble(value):
    if value > 3:
        return "it is too much"
    return "it is too little" if value else None
"""


def test_names_tables_and_functions_within_a_text_are_followed() -> None:
    assert [text for _, text, _ in said.said(ast.parse(PUT_TOGETHER))] == [
        "... is not what was expected; it is too much",
        "... is not what was expected; it is too little",
        "it is one of ... here",
        "it is two of ... here",
    ]


def test_an_anchor_stays_where_lines_move_and_names_of_variables_change() -> None:
    moved = "\n\n" + CODE.replace("name", "title")
    kept = [text for _, text, _ in said.said(ast.parse(CODE))]
    assert [text for _, text, _ in said.said(ast.parse(moved))] == kept
    assert said.anchor_of(kept[0]).startswith("must-be-a-number-got-")


@pytest.mark.parametrize("words", ["records when the pipeline was made", "shared memory is too small for"])
def test_what_people_meet_is_on_it(words: str) -> None:
    assert any(words in message.text for message in ALL)
