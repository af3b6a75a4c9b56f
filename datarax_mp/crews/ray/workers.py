"""What can be said of workers that are Ray actors. Ray itself is not imported here."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datarax_mp.core.integers import integer


@dataclass(frozen=True, kw_only=True)
class RayWorkers:
    """Workers on the nodes of a Ray cluster: ``Pipeline(workers=RayWorkers(...), num_workers=32)``.

    ``workers="ray"`` is ``RayWorkers()``. Each worker is an actor, unless it is ``local``. They are asked for all at
    once, and those for which the cluster has no room come when it has grown. What a lost actor or node had in hand is
    done again by others. The stream is the same as that of any other kind of workers.

    What processes have of main, actors have not: the environment is what Ray's ``runtime_env`` says (working directory,
    variables, ``sys.argv``, warning filters, ``np.seterr``, locale, umask, JAX's options), and what they log stays with
    Ray. Of main's import path they get the folders. Each reads a source's blocks for itself, as do local processes
    beside them. A ``MemorySource``'s arrays are in each node's object store once; other large arrays are each actor's
    own copy. A trace shows main alone. ``Cache`` and ``num_workers="auto"`` are errors.

    Where Ray has been initialised, that is what is used, and it is left as it is. Otherwise it is initialised when the
    first epoch begins, and shut down when the last pipeline that uses it is closed.

    Args:
        address: the cluster's, as for ``ray.init``; None is the one that is connected or that ``RAY_ADDRESS`` says,
            else one on this machine alone.
        local: how many of the ``num_workers`` are processes of this machine, which take what they can; the others are
            actors. Where Ray's part comes to its end, these go on alone, with a warning.
        num_cpus: CPUs that Ray reserves for each actor.
        resources: what else of the cluster's resources each worker needs, as for an actor.
        max_bytes_in_flight: bytes of batches that may be made or on their way at a time; one run may be there in any
            case.
        runtime_env: Ray's, for the actors: for instance which packages their nodes lack.

    Raises:
        TypeError: an argument is of the wrong kind.
        ValueError: an amount is negative, or the address is one of Ray's client, which has no object store here.

    >>> RayWorkers(local=8, num_cpus=2, max_bytes_in_flight=1 << 28)
    RayWorkers(address=None, local=8, num_cpus=2, resources=None, max_bytes_in_flight=268435456, runtime_env=None)
    """

    address: str | None = None
    local: int = 0
    num_cpus: float = 1
    resources: Mapping[str, float] | None = None
    max_bytes_in_flight: int = 1 << 30
    runtime_env: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.address is not None and not isinstance(self.address, str):
            raise TypeError(f"address must be a text or None, got {self.address!r}")
        if self.address is not None and self.address.startswith("ray://"):
            raise ValueError(
                f"address={self.address!r} is one of Ray's client, through which every batch would go once more. Run "
                "this program on a node of the cluster, with address='auto'"
            )
        integer("local", self.local, least=0)
        _check_amount("num_cpus", self.num_cpus)
        for name in ("resources", "runtime_env"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                raise TypeError(f"{name} must be a dict or None, got {value!r} of type {type(value).__name__}")
        for resource, amount in (self.resources or {}).items():
            _check_amount(f"resources[{resource!r}]", amount)
        integer("max_bytes_in_flight", self.max_bytes_in_flight, least=1)


def _check_amount(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be a number, got {value!r} of type {type(value).__name__}")
    if not 0 <= float(value) < math.inf:
        raise ValueError(f"{name} must not be negative, got {value}")
