"""The same stream in a fresh process, whose /dev/shm is small where such a thing can be had.

    python -m datarax_mp.commands.drilling.elsewhere TARGET FILE

reads from FILE, as JSON, the state to begin at and how many batches are wanted, and writes their hashes there. A mount
of its own takes root, or a system that lets its users have namespaces.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from datarax_mp.commands.drilling.reference import Digests, Reference, digest

MEGABYTES = 1
_MOUNT = f'mount -t tmpfs -o size={MEGABYTES}m,mode=1777 tmpfs /dev/shm && exec "$@"'
_TRY_SECONDS = 10.0
_STANDARD_ERROR = 2


def small_shm() -> list[str] | None:
    """What stands before a command that is to have a small /dev/shm; None where the system has no such thing."""
    namespace = ["--mount"] if os.geteuid() == 0 else ["--map-root-user", "--mount"]
    before = ["unshare", *namespace, "sh", "-c", _MOUNT, "sh"]
    try:
        done = subprocess.run([*before, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRY_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return before if done.returncode == 0 else None


def compared(target: str, reference: Reference, *, before: Sequence[str], seconds: float) -> str | None:
    """The first difference between the stream of a fresh process and a reference; None if there is none.

    Args:
        target: ``module:attribute`` of the pipeline.
        reference: what should come.
        before: what stands before the command; see ``small_shm``.
        seconds: how long it may take.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "drill.json"
        file.write_text(json.dumps({"state": reference.states[0], "batches": len(reference.seen)}))
        command = [*before, sys.executable, "-m", __name__, target, str(file)]
        try:
            # What the user's modules print goes where it is not taken for what this command prints.
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=_STANDARD_ERROR, timeout=seconds).returncode
        except subprocess.TimeoutExpired:
            return f"it has not come to its end in {seconds:.0f} s"
        if code != 0:
            return f"it has ended with exit code {code}; what it wrote to standard error says why"
        seen: list[Digests] = json.loads(file.read_text())
    for step, found in enumerate(seen):
        if (difference := reference.difference(step, found)) is not None:
            return difference
    missing = len(reference.seen) - len(seen)
    return f"behind batch {len(seen) - 1} the stream has ended, {missing} before its end" if missing else None


def main(target: str, path: str) -> None:
    """Write the hashes of a stream; see the module."""
    from datarax_mp.commands.target import pipeline_at

    file = Path(path)
    wanted = json.loads(file.read_text())
    with contextlib.closing(pipeline_at(target)) as pipeline:
        pipeline.set_state(wanted["state"])
        seen = [digest(batch) for batch, _ in zip(pipeline, range(wanted["batches"]), strict=False)]
    file.write_text(json.dumps(seen))


if __name__ == "__main__":
    main(*sys.argv[1:])
