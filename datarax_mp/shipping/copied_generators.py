"""Random generators inside of a source or a stage: each worker gets a copy, and all copies draw the same numbers."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from datarax_mp.recipe.inside import find
from datarax_mp.recipe.recipe import named_parts

_KINDS: tuple[type, ...] = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
_FOREIGN = {("torch._C", "Generator"), ("flax.nnx.rnglib", "Rngs"), ("flax.nnx.rnglib", "RngStream")}


def warn_of_generators(recipe: Any, kinds: Iterable[type]) -> None:
    """Warn if there are generators in a recipe that goes to workers.

    Args:
        recipe: the recipe.
        kinds: the types of the objects in it.
    """
    if not any(map(is_generator, kinds)):
        return
    found = find(named_parts(recipe.source, recipe.stages), lambda value: is_generator(type(value)))
    names = ", ".join(f"{name} ({type(value).__name__})" for name, value in found) or "a random generator"
    warnings.warn(
        f"{names}: a random generator inside of the source or a stage is copied into every worker, so that workers "
        "draw the same numbers, and which record gets which depends on num_workers. Use RandomMapElement(fn): its fn "
        "gets a generator of the record's own, from which a library's seed can be drawn, int(rng.integers(2**32)). Or "
        "use the global generators (np.random, random), which are seeded for each step",
        UserWarning,
        stacklevel=2,
    )


def is_generator(kind: type) -> bool:
    """Whether objects of a type draw random numbers from a state of their own."""
    if issubclass(kind, _KINDS):
        return not issubclass(kind, random.SystemRandom)
    return (str(kind.__module__), kind.__name__) in _FOREIGN
