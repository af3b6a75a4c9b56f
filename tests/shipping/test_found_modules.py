"""What main has and a fresh interpreter cannot import works in workers all the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HELPER = "def triple(number):\n    return 3 * number\n"

PLUGIN = """
import functools
from dataclasses import dataclass
from enum import Enum

FACTOR = 10

class Kind(Enum):
    ODD = 1
    EVEN = 2

@dataclass
class Tag:
    number: int
    kind: Kind

class Base:
    def __len__(self):
        return 20

class Source(Base):
    def __getitem__(self, number):
        tag = Tag(number, Kind.ODD if number % 2 else Kind.EVEN)
        return {"x": number, "tag": tag}

@functools.cache
def scaled(number):
    return FACTOR * number

def stage(record):
    HELP
    assert record["tag"] == Tag(int(record["x"]), Kind(2 - int(record["x"]) % 2))
    return {"x": scaled(int(record["x"])), "y": triple(record["x"])}
"""

RUN = """
def check(source, stage):
    from datarax_mp import Pipeline
    for workers in (2, 0):
        options = dict(num_workers=workers, output="numpy", enforce_batch=False)
        with Pipeline(source=source, batch_size=8, stages=[stage], **options) as pipeline:
            assert [(int(r["x"]), int(r["y"])) for r in pipeline] == [(10 * n, 3 * n) for n in range(20)]
        records = [source[n] for n in range(20)]
        with Pipeline(source=records, batch_size=8, stages=[stage], **options) as pipeline:
            assert [(int(r["x"]), int(r["y"])) for r in pipeline] == [(10 * n, 3 * n) for n in range(20)]
"""


def plugin(folder: Path) -> None:
    """A package whose functions import a module of it while they run."""
    (folder / "plugin").mkdir(parents=True)
    (folder / "plugin" / "__init__.py").write_text(PLUGIN.replace("HELP", "from .helper import triple"))
    (folder / "plugin" / "helper.py").write_text(HELPER)


def test_a_package_that_was_loaded_from_its_file(run_script: Callable[..., Any], tmp_path: Path) -> None:
    plugin(tmp_path / "elsewhere")
    run_script(
        RUN + "import importlib.util, sys\n"
        "spec = importlib.util.spec_from_file_location('plugin', 'elsewhere/plugin/__init__.py')\n"
        "plugin = sys.modules['plugin'] = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(plugin)\n"
        "check(plugin.Source(), plugin.stage)\n"
    )


def test_what_a_finder_of_the_scripts_own_finds(run_script: Callable[..., Any], tmp_path: Path) -> None:
    plugin(tmp_path / "elsewhere")
    run_script(
        RUN + "import importlib.machinery, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        return importlib.machinery.PathFinder.find_spec(name, path or ['elsewhere'])\n"
        "sys.meta_path.append(Finder())\n"
        "import plugin\n"
        "check(plugin.Source(), lambda record: plugin.stage(record))\n"
    )


def test_a_module_that_was_put_together_at_run_time(run_script: Callable[..., Any]) -> None:
    code = PLUGIN.replace("    HELP\n", "") + HELPER
    run_script(
        RUN + "import sys, types\n"
        "made = sys.modules['made'] = types.ModuleType('made')\n"
        f"exec({code!r}, vars(made))\n"
        "check(made.Source(), made.stage)\n"
        "import importlib.util\n"
        "check(made.Source(), lambda record: made.stage(record))\n"
    )


def test_a_module_that_is_found_through_a_changed_path(run_script: Callable[..., Any], tmp_path: Path) -> None:
    plugin(tmp_path / "elsewhere" / "more")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    run_script(
        RUN + "import package\npackage.__path__.append('elsewhere/more')\n"
        "import package.plugin\ncheck(package.plugin.Source(), package.plugin.stage)\n"
    )
    run_script(
        RUN + "import sys\nsys.path.insert(0, 'elsewhere/more')\nimport plugin\ncheck(plugin.Source(), plugin.stage)\n"
    )


def test_the_scripts_classes_in_a_process_that_multiprocessing_spawned(run_script: Callable[..., Any]) -> None:
    run_script(
        "import multiprocessing\n" + PLUGIN.replace("    HELP\n", "") + HELPER + RUN + "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=check, args=(Source(), stage))\n"
        "    child.start(); child.join()\n"
        "    assert child.exitcode == 0\n"
    )


def test_pytests_importlib_mode_without_any_help(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    test = PLUGIN.replace("    HELP\n", "") + HELPER + RUN + "\ndef test_it():\n    check(Source(), stage)\n"
    (tmp_path / "tests" / "test_it.py").write_text(test)
    # -P, because with the working directory on the path a worker could import the test
    command = [sys.executable, "-P", "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
