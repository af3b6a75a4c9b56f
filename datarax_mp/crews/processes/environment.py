"""What surrounds the user's code in main and is not part of it: brought along, so that it finds the same in a worker.

    Environment.here() in main, when an epoch begins ---> Configure ---> Environment.apply() in the worker

Not brought along is what must differ: a worker sees no GPU (``JAX_PLATFORMS``, ``CUDA_VISIBLE_DEVICES``), and numeric
libraries get one thread each unless the user's environment says something else. Standard output stays the process's.
The README lists what else a process sets up for itself, which ``worker_init`` is for.
"""

from __future__ import annotations

import contextlib
import enum
import importlib.util
import locale
import logging
import operator
import os
import pickle
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from datarax_mp.core.edits import last_code_version
from datarax_mp.core.importable import importable
from datarax_mp.core.pickling import dumps_for_workers
from datarax_mp.core.refusals import unless_refused
from datarax_mp.core.strays import is_chance
from datarax_mp.crews.processes.logs import Levels

_NO_DEVICE = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
# One thread per worker: eight workers with eight BLAS threads each fight over the same cores.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")

_NO_SUCH_OPTION = object()
_NO_FUNCTION = pickle.dumps(None)

# What changes the values that JAX computes, or when it raises.
_JAX_OPTIONS = (
    "jax_enable_x64",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_random_seed_offset",
    "jax_legacy_prng_key",
    "jax_enable_custom_prng",
    "jax_default_matmul_precision",
    "jax_default_dtype_bits",
    "jax_numpy_dtype_promotion",
    "jax_numpy_rank_promotion",
    "jax_softmax_custom_jvp",
    "jax_debug_nans",
    "jax_debug_infs",
    "jax_disable_jit",
)


# What has been made out of what, for the next epoch: most of the time nothing has changed.
_variables: tuple[dict[Any, Any], dict[str, str]] = ({}, {})
_filters: tuple[tuple[int, list[str]], list[Any], bytes] = ((-1, []), [], b"")


def variables_for_workers() -> Mapping[str, str]:
    """The environment variables of a worker; the same mapping as before where none has changed."""
    global _variables
    raw = getattr(os.environ, "_data", os.environ)  # to decode them all takes longer than all else of ``here``
    known, variables = _variables
    if raw != known or not variables:
        known, variables = dict(raw), {**os.environ, **_NO_DEVICE}
        for name in _ONE_THREAD:
            variables.setdefault(name, "1")
        _variables = known, variables
    return variables


class Environment(NamedTuple):
    """See the module.

    Attributes:
        variables: of the environment.
        path: the import path.
        directory: the working directory; None where it has been deleted, and the worker's stays.
        umask: that of new files; None where the system does not say, and the worker's stays.
        locale: of all categories.
        arguments: ``sys.argv``.
        recursion: the recursion limit.
        numpy_errors: what NumPy does about floating-point errors.
        jax: options of JAX; None where main has not imported it.
        filters: warning filters; a category that workers import is its module and name.
        captured: whether warnings go to the log.
        on_error: the function for NumPy's errors.
        levels: which records the log takes.
    """

    variables: Mapping[str, str]
    path: tuple[str, ...]
    directory: str | None
    umask: int | None
    locale: str
    arguments: tuple[str, ...]
    recursion: int
    numpy_errors: dict[str, Any]
    jax: dict[str, Any] | None
    filters: bytes
    captured: bool
    on_error: bytes
    levels: Levels

    @classmethod
    def here(cls) -> Environment:
        """That of the calling process and thread.

        Raises:
            TypeError: a warning filter or the function for NumPy's errors does not pickle.
        """
        try:
            filters, on_error = _settings()
        except Exception as error:
            if is_chance(_settings):
                raise
            raise TypeError(
                f"a warning filter or the function of np.seterrcall cannot be sent to worker processes: {error}"
            ) from error
        return cls(
            variables_for_workers(),
            tuple(sys.path),
            _working_directory(),
            _umask(),
            locale.setlocale(locale.LC_ALL),
            tuple(sys.argv),
            sys.getrecursionlimit(),
            dict(np.geterr()),
            _jax_options(),
            filters,
            warnings.showwarning is getattr(logging, "_showwarning", None),
            on_error,
            Levels.here(),
        )

    def apply(self) -> None:
        """Make it this process's.

        Raises:
            OSError: the working directory is gone.
            locale.Error: this process does not find the locale.
        """
        _set_variables(self.variables)
        sys.path[:], sys.argv[:] = self.path, self.arguments
        if self.directory is not None:
            os.chdir(self.directory)
        if self.umask is not None:
            os.umask(self.umask)
        if locale.setlocale(locale.LC_ALL) != self.locale:
            locale.setlocale(locale.LC_ALL, self.locale)
        sys.setrecursionlimit(self.recursion)
        np.seterr(**self.numpy_errors)
        np.seterrcall(pickle.loads(self.on_error))
        logging.captureWarnings(self.captured)
        self.apply_filters()
        self.levels.apply()
        _jax.options = self.jax or {}
        _jax.apply()

    def apply_filters(self) -> None:
        """Make the warning filters this process's, without those for categories of modules that it does not know.

        So a worker imports nothing for a filter; when the recipe has been loaded, which may import what it needs,
        this is to be called again.
        """
        filters = []
        for action, message, category, module, line in pickle.loads(self.filters):
            if isinstance(category, tuple):
                category = getattr(sys.modules.get(category[0]), category[1], None)
            if category is not None:
                filters.append((action, message, category, module, line))
        warnings.resetwarnings()  # it also makes known that the filters are others now
        warnings.filters[:] = filters  # type: ignore[index]


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody has deleted it; relative paths lead nowhere in the calling process either
        return None


def _umask() -> int | None:
    """Read without setting it, since other threads may make files meanwhile."""
    for line in unless_refused(Path("/proc/self/status").read_text, "").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return None


def _settings() -> tuple[bytes, bytes]:
    """The warning filters and the function for NumPy's errors, pickled."""
    global _filters
    function = np.geterrcall()
    known_as_of, known, pickled = _filters
    now, as_of = list(warnings.filters), (last_code_version(), sys.path[:])
    if as_of != known_as_of or len(now) != len(known) or not all(map(operator.is_, now, known)):
        pickled = dumps_for_workers()(_named(now))
        _filters = as_of, now, pickled
    return pickled, _NO_FUNCTION if function is None else dumps_for_workers()(function)


def _named(filters: Sequence[Any]) -> list[tuple[Any, ...]]:
    named = []
    for action, message, category, module, line in filters:
        home = category.__module__
        known = importable(home) and getattr(sys.modules.get(home), category.__name__, None) is category
        named.append((action, message, (home, category.__name__) if known else category, module, line))
    return named


def _set_variables(variables: Mapping[str, str]) -> None:
    now = dict(os.environ)
    zone = now.get("TZ")
    for name in now.keys() - variables.keys():
        del os.environ[name]
    for name, value in variables.items():
        if now.get(name) != value:
            os.environ[name] = value
    if os.environ.get("TZ") != zone and hasattr(time, "tzset"):
        time.tzset()


def _jax_options() -> dict[str, Any] | None:
    config = getattr(sys.modules.get("jax"), "config", None)
    if config is None:
        return None
    values = {name: getattr(config, name, _NO_SUCH_OPTION) for name in _JAX_OPTIONS}
    # By its name: an object of JAX's would make every worker import JAX.
    return {
        name: value.value if isinstance(value, enum.Enum) else value
        for name, value in values.items()
        if value is not _NO_SUCH_OPTION
    }


class _Jax:
    """Sets options when the user's code imports JAX, which a worker does not do by itself."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self._looking = False

    def apply(self) -> None:
        """Set them now if JAX is there, else when it is imported."""
        config = getattr(sys.modules.get("jax"), "config", None)
        if config is not None:
            for name, value in self.options.items():
                now = getattr(config, name, value)
                if (now.value if isinstance(now, enum.Enum) else now) != value:
                    config.update(name, value)
        elif self.options and self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As the import system asks, for every module that is not there yet."""
        if name != "jax" or self._looking:
            return None
        self._looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking = False
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_set(module: ModuleType) -> None:
            run(module)
            with contextlib.suppress(ValueError):
                sys.meta_path.remove(self)
            self.apply()

        spec.loader.exec_module = run_and_set  # type: ignore[method-assign]
        return spec


_jax = _Jax()
