"""The message that makes another process load a recipe, and where in shared memory each part of it lies."""

from __future__ import annotations

from typing import NamedTuple

from datarax_mp.shipping.found_modules import Files


class Part(NamedTuple):
    """Where a part of a serialised recipe lies.

    Attributes:
        segment: in which segment; 0 is the recipe's own, and of the others a part is the whole.
        start: its first byte there.
        size: its bytes.
    """

    segment: int
    start: int
    size: int


class Load(NamedTuple):
    """Unpickle this recipe; the descriptors of its segments come along.

    Attributes:
        recipe_id: what main calls it.
        sizes: bytes of each segment; the first holds the pickle and its buffers, the rest belong to the source.
        parts: where the pickle lies, then each part beside it, as unpickling asks for them.
        probe: the epoch in which to read the first record and answer with its layout, or None.
        found: modules that the worker finds in the files given here alone.
        template: whether to answer with the process's fitness for forking; nothing of the recipe is run then.
    """

    recipe_id: int
    sizes: tuple[int, ...]
    parts: tuple[Part, ...]
    probe: int | None
    found: Files
    template: bool = False
