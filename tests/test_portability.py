"""The package is of use wherever Python and JAX are; worker processes are what takes a POSIX system."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

# What comes with Python on Windows, say, lacks these; other packages are imported before they are taken away.
WITHOUT_POSIX = """
import concurrent.futures, ctypes, faulthandler, importlib, logging, mmap, multiprocessing.shared_memory, os, pkgutil
import queue, random, select, selectors, signal, socket, subprocess, sys, tempfile, threading
import cloudpickle, numpy as np, jax, flax.nnx, psutil
jax.device_put(np.zeros(3)).block_until_ready()

class WithAName(ctypes.CDLL):
    def __init__(self, name, *arguments, **more):
        if name is None:
            raise TypeError("bad argument type for built-in operation")
        super().__init__(name, *arguments, **more)

ctypes.CDLL = WithAName
for module in ("fcntl", "resource", "_posixshmem", "termios", "pwd", "grp", "pty"):
    sys.modules[module] = None
for name in (
    "fork forkpty register_at_fork waitpid waitid wait WNOHANG WEXITED WNOWAIT WSTOPPED P_PID P_ALL getppid setpgid "
    "getpgid killpg setsid getsid pidfd_open memfd_create MFD_CLOEXEC posix_fallocate sched_getaffinity geteuid getuid "
    "O_TMPFILE pwrite pread statvfs fchmod fchown sysconf set_blocking getloadavg mkfifo"
).split():
    if hasattr(os, name):
        delattr(os, name)
for module, names in (
    (select, "poll epoll"),
    (socket, "send_fds recv_fds CMSG_LEN CMSG_SPACE SCM_RIGHTS MSG_DONTWAIT MSG_CMSG_CLOEXEC MSG_NOSIGNAL AF_UNIX"),
    (signal, "SIGKILL SIGSTOP SIGCONT SIGCHLD SIGHUP SIGUSR1 SIGUSR2 SIGALRM SIGPIPE SIGBUS SIGRTMIN SIGRTMAX "
             "pthread_sigmask pidfd_send_signal setitimer sigwait valid_signals_ SIG_BLOCK SIG_SETMASK SIG_UNBLOCK"),
    (mmap, "MADV_DONTFORK PROT_READ PROT_WRITE MAP_SHARED MAP_PRIVATE MAP_ANONYMOUS"),
    (faulthandler, "register unregister"),
):
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)

import datarax_mp
for module in pkgutil.walk_packages(datarax_mp.__path__, "datarax_mp."):
    remote = module.name.startswith("datarax_mp.crews.ray.") and not module.name.endswith(".workers")  # imports Ray
    if module.name not in ("datarax_mp.checkpoint", "datarax_mp.keras", "datarax_mp.__main__") and not remote:
        importlib.import_module(module.name)
from datarax_mp import Pipeline, WorkerError
"""


def test_importing_it_and_working_without_workers_needs_no_posix(run_script: Callable[..., Any]) -> None:
    run_script(
        WITHOUT_POSIX
        + "from datarax_mp import MemorySource, MemorySourceConfig\n"
        + "source = MemorySource(MemorySourceConfig(), {'x': np.arange(12.0).reshape(6, 2), 'text': list('abcdef')})\n"
        + "for output in ('numpy', 'jax'):\n"
        + "    with Pipeline(source=source, batch_size=4, stages=[lambda r: r], output=output) as pipeline:\n"
        + "        for _ in range(2):\n"
        + "            assert [len(batch['x']) for batch in pipeline] == [4, 2]\n"
        + "from datarax_mp.core.compare import same_bytes\n"
        + "assert [same_bytes(b'abc', other) for other in (b'abc', b'abd', b'ab')] == [True, False, False]\n"
        + "large = MemorySource(MemorySourceConfig(), {'x': np.zeros((64, 200, 200, 3), np.float32)})\n"
        + "assert len(list(Pipeline(source=large, batch_size=16, output='numpy'))) == 4\n"
    )


def test_asking_for_workers_without_posix_is_an_error_that_says_what_is_missing(run_script: Callable[..., Any]) -> None:
    run_script(
        WITHOUT_POSIX
        + "try:\n    list(Pipeline(source=[1, 2, 3], batch_size=2, num_workers=2, output='numpy'))\n"
        + "except ValueError as error:\n    assert 'os.fork' in str(error) and 'num_workers=0' in str(error), error\n"
        + "else:\n    raise AssertionError\n"
    )


@pytest.mark.parametrize("module", ["fcntl", "resource", "_posixshmem"])
def test_workers_get_by_without_modules_that_an_interpreter_may_lack(
    module: str, run_script: Callable[..., Any]
) -> None:
    run_script(
        f"import sys\nsys.modules[{module!r}] = None\n"
        "from datarax_mp import Pipeline\n"
        "numbers = [int(e['value']) for e in Pipeline(source=list(range(9)), batch_size=3, num_workers=2,"
        " output='numpy', enforce_batch=False)]\n"
        "assert numbers == list(range(9))\n"
    )
