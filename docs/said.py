"""What the package can say: the text of every error and warning, read out of its source.

A text that is put together has ``...`` where something is found out. Parts that are written elsewhere, in a function, a
table, or under a name, are put in. Where there are several that take each other's place it is a message for each, but
where one of two is only a word or nothing, it is the other one.
"""

from __future__ import annotations

import ast
import itertools
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

FOUND = "..."
_LEAST_WORDS = 3  # of a text; what has fewer is a file's name, say, that another message goes around
_SLUG_WORDS = 6
_DEPTH = 2  # how far a text is looked for in functions and names that a text is made of
_ALTERNATIVES = 12  # of one that is put together of several
_ENTRY = re.compile(r"^\(([a-z0-9-]+)\)=\n### (.*)$", re.MULTILINE)
_QUOTED = re.compile(r'"(.+?)"(?= or |$)')
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


def explained(page: str) -> list[tuple[str, str]]:
    """What a page on troubleshooting explains: of each message in a title the title's label, and its words."""
    return [(label, quoted) for label, title in _ENTRY.findall(page) for quoted in _QUOTED.findall(title)]


def like(quoted: str) -> re.Pattern[str]:
    """What is found in messages that have these words, with anything for what is found out."""
    return re.compile(".*?".join(map(re.escape, quoted.split(FOUND))))


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


def _tables(tree: ast.Module) -> Iterator[tuple[str, ast.Dict]]:
    """The dicts that a module has, by name."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            yield from ((_name(target), node.value) for target in node.targets)


def said(
    tree: ast.Module, own: Collection[str] = (), helpers: Mapping[str, ast.FunctionDef] = MappingProxyType({})
) -> Iterator[tuple[str, str, str]]:
    """Of each error and warning that a module makes its class, its text, and the function that makes it.

    Args:
        tree: the module.
        own: names of exceptions that do not end as those of Python do.
        helpers: functions of other modules, by name.
    """
    functions, tables = {**helpers, **_functions(tree)}, dict(_tables(tree))
    for function, node in _calls(tree, "the module"):
        name = _name(node.func)
        if name == "warn" and node.args:
            kind = _name(node.args[1]) if len(node.args) > 1 else "UserWarning"
        elif (name.endswith(_EXCEPTIONS) or name in own) and node.args:
            kind = name
        else:
            continue
        for argument in node.args[:2]:  # an OSError's text is its second
            for text in _texts(argument, _Scope(functions, tables, functions.get(function))):
                if _words(text):
                    yield kind, _tidy(text), function


def _calls(node: ast.AST, function: str) -> Iterator[tuple[str, ast.Call]]:
    """All calls, and in which function each stands."""
    for child in ast.iter_child_nodes(node):
        inside = child.name if isinstance(child, ast.FunctionDef) else function
        if isinstance(child, ast.Call):
            yield inside, child
        yield from _calls(child, inside)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What names in a function's code stand for.

    Attributes:
        functions: functions by name.
        tables: dicts of the module, by name.
        around: the function.
    """

    functions: Mapping[str, ast.FunctionDef]
    tables: Mapping[str, ast.Dict]
    around: ast.FunctionDef | None

    def function(self, node: ast.expr) -> ast.FunctionDef | None:
        """The function that is called so."""
        return self.functions.get(ast.unparse(node).removeprefix("self."))

    def values(self, name: str) -> Iterator[ast.expr]:
        """What is assigned to a name."""
        for part in ast.walk(self.around) if self.around is not None else ():
            match part:
                case ast.Assign(targets=targets, value=value) if name in map(_name, targets):
                    yield value
                case ast.NamedExpr(target=ast.Name(id=target), value=value) if target == name:
                    yield value


def _texts(node: ast.expr | None, scope: _Scope, depth: int = 0) -> list[str]:
    """What an expression may say: its own text, or those of the functions, names and tables that are in it."""
    found: list[str] = []
    match node:
        case ast.Constant(value=str(value)):
            found = [value]
        case ast.JoinedStr(values=values):
            found = _joined([_part(value, scope, depth) for value in values])
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = _joined([_texts(left, scope, depth), _texts(right, scope, depth)])
        case ast.BinOp(left=left, op=ast.Mult()):
            found = _texts(left, scope, depth)
        case ast.IfExp(body=body, orelse=orelse):
            sides = [*_texts(body, scope, depth), *_texts(orelse, scope, depth)]
            found = [text for text in sides if _words(text)] or [max(sides, key=len)]
        case ast.Name(id=name) if depth < _DEPTH:
            values = [_texts(value, scope, depth + 1) for value in scope.values(name)]
            found = [] if [FOUND] in values else list(itertools.chain(*values))
        case ast.Subscript(value=ast.Name(id=name)) if name in scope.tables:
            found = [text for value in scope.tables[name].values for text in _texts(value, scope, depth)]
        case ast.Call(func=ast.Attribute(value=template, attr="format")):
            found = [re.sub(r"{\w*}", FOUND, text) for text in _texts(template, scope, depth)]
        case ast.Call(func=function) if depth < _DEPTH and (called := scope.function(function)) is not None:
            inside = replace(scope, around=called)
            returns = sorted((part for part in ast.walk(called) if isinstance(part, ast.Return)), key=_line)
            found = [text for each in returns if each.value for text in _texts(each.value, inside, depth + 1)]
    return list(dict.fromkeys(found)) or [FOUND]


def _part(node: ast.expr, scope: _Scope, depth: int) -> list[str]:
    """What a part of a text may say; a word or two of it are something that is found out."""
    if not isinstance(node, ast.FormattedValue):
        return _texts(node, scope, depth)
    kept = isinstance(node.value, ast.IfExp | ast.BinOp)
    texts = [re.sub(r"\s+", " ", text) for text in _texts(node.value, scope, depth)]
    return list(dict.fromkeys(text if kept or text.count(" ") >= _LEAST_WORDS - 1 else FOUND for text in texts))


def _line(node: ast.stmt) -> int:
    return node.lineno


def _joined(parts: list[list[str]]) -> list[str]:
    return ["".join(texts) for texts in itertools.islice(itertools.product(*parts), _ALTERNATIVES)]


def _words(text: str) -> bool:
    """Whether there is enough of a text to be one."""
    return len(re.findall(r"[A-Za-z]+", text.replace(FOUND, " "))) >= _LEAST_WORDS


def _tidy(text: str) -> str:
    return re.sub(rf"(?:{re.escape(FOUND)}\s*)+(?={re.escape(FOUND)})", "", re.sub(r"\s+", " ", text)).strip()
