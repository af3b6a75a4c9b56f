"""What the package can say: the text of every error and warning, read out of its source.

A text that is put together has ``...`` where something is found out. Where parts of it depend on something, they are
there, and of two that take each other's place the longer one is.
"""

from __future__ import annotations

import ast
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

FOUND = "..."
_LEAST_WORDS = 3  # of a text; what has fewer is a file's name, say, that another message goes around
_SLUG_WORDS = 6
_EXCEPTIONS = ("Error", "Warning", "Exception")

INTERNAL = {
    "crews/base.py": "says to who writes a crew that it has called what this crew cannot do",
    "recipe/worker_init.py": "is answered with another attempt, and never reaches anybody",
}
"""What nobody meets, by file, and why."""


@dataclass(frozen=True, slots=True)
class Message:
    """An error or a warning.

    Attributes:
        room: the folder of the package that it comes from, the first one if there are several.
        text: its words.
        kinds: the exceptions' classes.
        places: where it comes from: "core/spec.py: check".
    """

    room: str
    text: str
    kinds: tuple[str, ...]
    places: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """What a link to it ends in: it stays as long as the words do."""
        return anchor_of(self.text)


def anchor_of(text: str) -> str:
    """What a link to a message ends in; only its words count."""
    words = re.findall(r"[a-z0-9]+", text.replace(FOUND, " ").lower())
    return f"{'-'.join(words[:_SLUG_WORDS])}-{zlib.crc32(' '.join(words).encode()):08x}"


def messages(package: Path) -> list[Message]:
    """All of a package's, by room, and within it by their words."""
    trees = {path.relative_to(package): ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
    own = frozenset(name for tree in trees.values() for name in _exceptions(tree))
    helpers = {name: node for tree in trees.values() for name, node in _functions(tree).items()}
    found: dict[str, Message] = {}
    for path, tree in trees.items():
        room = path.parts[0] if len(path.parts) > 1 else package.name
        for kind, text, function in said(tree, own, helpers) if str(path) not in INTERNAL else ():
            known = found.get(anchor_of(text), Message(room, text, (), ()))
            kinds = dict.fromkeys([*known.kinds, kind])
            places = dict.fromkeys([*known.places, f"{path}: {function}"])
            found[known.anchor] = replace(known, kinds=tuple(kinds), places=tuple(places))
    return sorted(found.values(), key=lambda message: (message.room, message.text))


def _exceptions(tree: ast.Module) -> Iterator[str]:
    """The exceptions that a module has classes for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_name(base).endswith(_EXCEPTIONS) for base in node.bases):
            yield node.name


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def said(
    tree: ast.Module, own: Collection[str] = (), helpers: Mapping[str, ast.FunctionDef] = MappingProxyType({})
) -> Iterator[tuple[str, str, str]]:
    """Of each error and warning that a module makes its class, its text, and the function that makes it.

    Args:
        tree: the module.
        own: names of exceptions that do not end as those of Python do.
        helpers: functions of other modules, by name.
    """
    functions = {**helpers, **_functions(tree)}
    for function, node in _calls(tree, "the module"):
        name = _name(node.func)
        if name == "warn" and node.args:
            kind = _name(node.args[1]) if len(node.args) > 1 else "UserWarning"
        elif (name.endswith(_EXCEPTIONS) or name in own) and node.args:
            kind = name
        else:
            continue
        for argument in node.args[:2]:  # an OSError's text is its second
            for text in _texts(argument, functions, functions.get(function)):
                if len(re.findall(r"[A-Za-z]+", text.replace(FOUND, " "))) >= _LEAST_WORDS:
                    yield kind, text, function


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
    """All calls, and in which function each stands."""
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef) else function
        if isinstance(child, ast.Call):
            yield inside, child
        yield from _calls(child, inside)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _texts(node: ast.expr, functions: dict[str, ast.FunctionDef], around: ast.FunctionDef | None) -> Iterator[str]:
    """What an argument may say: its own text, or those of the function or the name that it is."""
    if isinstance(node, ast.Call) and (called := functions.get(ast.unparse(node.func).removeprefix("self."))):
        for part in ast.walk(called):
            if isinstance(part, ast.Return) and part.value is not None:
                yield _tidy(_text(part.value))
    elif isinstance(node, ast.Name) and around is not None:
        for part in ast.walk(around):
            if isinstance(part, ast.Assign) and any(_name(target) == node.id for target in part.targets):
                yield _tidy(_text(part.value))
    else:
        yield _tidy(_text(node))


def _text(node: ast.expr) -> str:
    """A text as it stands in the source."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.JoinedStr(values=values):
            return "".join(map(_text, values))
        case ast.FormattedValue(value=ast.IfExp() | ast.BinOp() as value):
            return _text(value)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
        case ast.BinOp(left=left, op=ast.Mult()):
            return _text(left)
        case ast.IfExp(body=body, orelse=orelse):
            return max(_text(body), _text(orelse), key=len)
    return FOUND


def _tidy(text: str) -> str:
    return re.sub(rf"(?:{re.escape(FOUND)}\s*)+(?={re.escape(FOUND)})", "", re.sub(r"\s+", " ", text)).strip()
