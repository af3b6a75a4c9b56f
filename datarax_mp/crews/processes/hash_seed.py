"""One seed for ``hash`` in all workers of this process, those that take others' places among them.

Python draws one for every interpreter that it starts, so that the hash values of text, and with them the order of a
set of it, are others in each: what a stage makes of them would depend on who does it. They are this process's own only
where PYTHONHASHSEED says which those are; nobody can tell a seed that Python has drawn.

An interpreter that ignores its variables (``-E``, ``-I``) ignores this one, too. Ray's actors have it where the user's
``RayWorkers(runtime_env=)`` says so: for variables of their own, Ray starts them seconds later.
"""

from __future__ import annotations

import os

VARIABLE = "PYTHONHASHSEED"
_MOST = (1 << 32) - 1  # that Python takes


def _seed() -> str:
    own = os.environ.get(VARIABLE, "")
    if own.isdecimal() and int(own) <= _MOST:
        return own
    return str(int.from_bytes(os.urandom(4), "little"))


SEED = _seed()
"""What ``PYTHONHASHSEED`` is to be where a nursery's interpreter begins."""
