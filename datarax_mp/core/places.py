"""Where this package keeps files of its own for a user."""

from __future__ import annotations

import os


def user_cache(name: str, folder: str | os.PathLike[str] | None = None) -> str:
    """A folder in the user's cache folder (the XDG Base Directory Specification says where that is).

    Args:
        name: what it is called there.
        folder: the user's choice, which is taken instead.

    Returns:
        Its absolute path; it need not be there.
    """
    if folder is None:
        cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        folder = os.path.join(cache, "datarax_mp", name)
    return os.path.abspath(os.path.expanduser(folder))
