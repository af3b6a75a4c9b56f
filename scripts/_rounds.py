"""What the measuring scripts share: a fresh process for every measurement, and medians over rounds."""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any


def fresh(script: str, arguments: Sequence[str], seconds: float, env: Mapping[str, str] | None = None) -> Any:
    """What ``python script arguments`` prints as JSON, in a process of its own.

    The process leads a session, so that whatever it has started ends with it, also when it fails or is interrupted.
    What it has written to standard error is shown when it fails.

    Args:
        script: the path of the script.
        arguments: its arguments.
        seconds: how long it may take; only reached in case of a hang.
        env: added to the environment.

    Raises:
        subprocess.CalledProcessError: it failed.
        subprocess.TimeoutExpired: it took longer.
    """
    command = [sys.executable, script, *arguments]
    environment = {**os.environ, **(env or {})}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        try:
            out, complaints = process.communicate(timeout=seconds)
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    if process.returncode:
        print(complaints, file=sys.stderr)
        raise subprocess.CalledProcessError(process.returncode, command)
    return json.loads(out)


def spread(values: Sequence[float], digits: int = 0) -> str:
    """The median, the smallest and the largest.

    >>> spread([3, 1, 2])
    '        2 (     1..     3)'
    """
    return f"{statistics.median(values):9.{digits}f} ({min(values):6.{digits}f}..{max(values):6.{digits}f})"


def median_ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """The median of the ratios within each round.

    >>> median_ratio([2, 6, 3], [1, 2, 3])
    2.0
    """
    return statistics.median(mine / other for mine, other in zip(values, others, strict=True))


def conditions(*packages: str) -> str:
    """Cores, load and versions, for the line above a table; a package that is not installed is left out."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    return f"{cores} cores, load {load:.1f}, CPU backend, {', '.join(found)}, Python {platform.python_version()}"
