"""Which packages are there, in which versions, and what installs those that are not.

What is wanted stands in the metadata of the installed package, so that nothing is listed twice.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence
from importlib import metadata

from datarax_mp import __version__
from datarax_mp.commands.checks.finding import Finding

_US = "datarax-mp"
_FOR_DEVELOPERS = {"bench", "docs", "examples", "test"}
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([\w.,-]+)\])?\s*(?:\(?>=\s*([\w.]+))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w.-]+)['"]""")


def requirements() -> Iterator[Finding]:
    """This package, Python, and what it cannot do without."""
    found = f"datarax_mp {__version__}, Python {platform.python_version()}, {platform.platform()}"
    yield Finding("version", found)
    wanted = _wanted()
    if wanted is None:
        remedy = "packages cannot be checked: pip install datarax-mp (or pip install -e . in its folder)"
        yield Finding("packages", "datarax-mp itself is not installed, only importable", remedy)
        return
    told, lacking = _told(_of(wanted, ""))
    remedy = f"pip install -U {_US}" if lacking else ""
    yield Finding("packages", told, remedy, works=not lacking)


def extras() -> Iterator[Finding]:
    """What there is beside that, by the name under which it is installed."""
    wanted = _wanted() or []
    for extra in sorted({extra for extra, *_ in wanted} - _FOR_DEVELOPERS - {""}):
        told, lacking = _told(_of(wanted, extra))
        yield Finding(f"extra {extra}", told, f'if it is needed: pip install "{_US}[{extra}]"' if lacking else "")


_Wanted = tuple[str, str, str, str]  # extra, package, its extras, least version


def _wanted() -> list[_Wanted] | None:
    try:
        lines = metadata.requires(_US) or []
    except metadata.PackageNotFoundError:
        return None
    return [parsed(line) for line in lines]


def parsed(line: str) -> _Wanted:
    """A requirement as the metadata has it (PEP 508): extra, package, its extras, least version.

    >>> parsed("psutil>=5.9; extra == 'monitoring'")
    ('monitoring', 'psutil', '', '5.9')
    """
    extra, what = _EXTRA.search(line), _REQUIREMENT.match(line)
    assert what is not None, line
    return extra[1] if extra else "", what[1], what[2] or "", what[3] or ""


def _of(wanted: Sequence[_Wanted], extra: str) -> dict[str, str]:
    """The packages of an extra with their least versions, also those of extras of ours that it names."""
    found: dict[str, str] = {}
    for of, package, inner, least in wanted:
        if of != extra:
            continue
        if package == _US:
            for name in inner.split(","):
                found |= _of(wanted, name)
        else:
            found[package] = least
    return found


def _told(packages: dict[str, str]) -> tuple[str, bool]:
    """Versions in words, and whether one is missing or too old."""
    told, lacking = [], False
    for package, least in packages.items():
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            told.append(f"{package} is missing")
            lacking = True
            continue
        old = _numbers(version) < _numbers(least)
        told.append(f"{package} {version}" + (f", older than {least}" if old else ""))
        lacking |= old
    return "; ".join(told), lacking


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, leading[0].split("."))) if leading else ()
