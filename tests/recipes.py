"""Recipes made by hand, for tests of what ships them or carries them out."""

from __future__ import annotations

from typing import Any

from datarax_mp.order import Order, Sequential
from datarax_mp.recipe.recipe import Recipe
from datarax_mp.sources.adapt import as_source
from datarax_mp.stages.split import split_stages


def recipe_of(source: Any, *stages: Any) -> Recipe:
    """The recipe of a pipeline with NumPy output that reads a source in its own order, two records at a time."""
    source = as_source(source)
    host, _ = split_stages(stages)
    return Recipe(source, host, Order(Sequential(len(source)), batch_size=2), x64=None)
