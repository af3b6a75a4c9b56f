"""JAX's backend and devices, asked for in another process: a device that hangs must not hang whoever asks."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from datarax_mp.commands.checks.finding import Finding

SECONDS = 60.0  # a cold GPU takes ten
_ASK = (
    "import json, jax; "
    "print(json.dumps([jax.__version__, jax.default_backend(), [d.device_kind for d in jax.devices()]]))"
)
_NVIDIA = "/dev/nvidiactl"


def devices(
    command: Sequence[str] = (sys.executable, "-c", _ASK), seconds: float = SECONDS, nvidia: str = _NVIDIA
) -> Iterator[Finding]:
    """What JAX runs on.

    Args:
        command: what tells it, for tests.
        seconds: how long that may take.
        nvidia: what is there if the machine has a GPU and its driver.
    """
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with contextlib.ExitStack() as ends:
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                ends.callback(pipe.close)
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            yield _hangs(seconds)
            return
        finally:
            _end(process)
    if process.returncode != 0:
        last = (err.decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"])[-1]
        remedy = 'JAX cannot be used: check JAX_PLATFORMS and the driver, or install it anew (pip install -U "jax")'
        yield Finding("jax", last, remedy, works=False)
        return
    version, backend, kinds = json.loads(out.decode().splitlines()[-1])
    counted = ", ".join(f"{count} x {kind}" for kind, count in Counter(kinds).items())
    yield Finding("jax", f"{version}, backend {backend}: {counted}", _unused(backend, nvidia))


def _hangs(seconds: float) -> Finding:
    remedy = (
        "the driver may hang, or another process hold the device (nvidia-smi); JAX_PLATFORMS=cpu goes on without it"
    )
    return Finding("jax", f"its devices have not answered in {seconds:g} s", remedy, works=False)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it if it still runs, and do not wait for ever: it may hang in the kernel, where no signal reaches."""
    if process.poll() is None:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)


def _unused(backend: str, nvidia: str) -> str:
    if backend != "cpu" or not os.path.exists(nvidia):
        return ""
    if chosen := os.environ.get("JAX_PLATFORMS"):
        return f"this machine has an NVIDIA GPU that JAX does not use: JAX_PLATFORMS={chosen} says so"
    return 'this machine has an NVIDIA GPU that JAX does not use: pip install "jax[cuda12]"'
