"""What SECURITY.md says, tried by a process of another user."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="needs the right to become another user"),
    pytest.mark.needs("proc"),
]

NOBODY = 65534

# Tries all that one user can do to another's processes, and prints what it got hold of.
INTRUDER = """
import os, signal, socket, sys
got = []
for pid in sys.argv[1:]:
    for what in ("fd", "map_files", "environ", "maps", "mem", "cwd"):
        path = f"/proc/{pid}/{what}"
        try:
            if what in ("fd", "map_files"):
                got += [f"{path}/{name}" for name in os.listdir(path)]
            elif what == "cwd":
                got.append(os.readlink(path))
            else:
                with open(path, "rb") as file:
                    file.read(1)
                got.append(path)
        except OSError:
            pass
    for number in range(3, 40):
        try:
            os.close(os.open(f"/proc/{pid}/fd/{number}", os.O_RDWR))
            got.append(f"opened descriptor {number} of {pid}")
        except OSError:
            pass
    try:
        os.kill(int(pid), signal.SIGUSR1)
        got.append(f"signalled {pid}")
    except OSError:
        pass
ours = tuple(f"-{pid}-" for pid in sys.argv[1:])  # others' come and go within microseconds
got += [name for name in os.listdir("/dev/shm") if name.startswith("datarax_mp") and any(n in name for n in ours)]
with open("/proc/net/unix") as file:
    got += [line for line in file if "datarax" in line]
print(got)
sys.exit(bool(got))
"""

MAIN = """
import os, subprocess, sys
import numpy as np
import psutil
from datarax_mp import MemorySource, MemorySourceConfig, Pipeline

source = MemorySource(MemorySourceConfig(), {"x": np.arange(40)})
with Pipeline(source=source, batch_size=4, num_workers=2, output="numpy") as pipeline:
    iterator = iter(pipeline)
    next(iterator)
    tree = [os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))]
    assert len(tree) == 4
    done = subprocess.run(
        ["/usr/bin/env", "python3", "intruder.py", *map(str, tree)], user=USER, group=USER, extra_groups=[],
        capture_output=True, text=True,
    )
    assert done.returncode == EXPECTED, done
    rest = [n for batch in iterator for n in batch["x"].tolist()]
    assert rest == list(range(4, 40))
"""


@pytest.fixture
def intruder(tmp_path: Path) -> Path:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    (tmp_path / "intruder.py").write_text(INTRUDER)
    return tmp_path


def test_another_user_gets_hold_of_nothing(run_script: Callable[..., Any], intruder: Path) -> None:
    run_script(MAIN.replace("USER", str(NOBODY)).replace("EXPECTED", "0"))


def test_the_same_means_would_find_something_as_the_same_user(run_script: Callable[..., Any], intruder: Path) -> None:
    attack = MAIN.replace("USER", "0").replace("EXPECTED", "1")
    run_script("import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\n" + attack)


def test_shared_memory_is_for_its_owner_alone_whichever_way_it_comes_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import errno

    from datarax_mp.ring import Segment

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(errno.ENOSYS, "Function not implemented")

    previous = os.umask(0)
    try:
        for name in (None, "open", "memfd_create"):
            if name is not None:
                monkeypatch.setattr(os, name, refuse)
            segment = Segment.create(4096, "a test", "-")
            assert os.fstat(segment.fd).st_mode & 0o777 == 0o600
            segment.close()
    finally:
        os.umask(previous)
