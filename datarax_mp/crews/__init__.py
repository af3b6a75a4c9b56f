"""Who does the work of an epoch: ``base`` says what is expected of them."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datarax_mp.crews.info import WorkerInfo as WorkerInfo
    from datarax_mp.crews.info import worker_info as worker_info
    from datarax_mp.crews.ray.workers import RayWorkers as RayWorkers
else:
    from datarax_mp.core.public import offer

    _HOME = {
        "RayWorkers": "crews.ray.workers",
        "WorkerInfo": "crews.info",
        "worker_info": "crews.info",
    }
    __getattr__, __dir__, __all__ = offer(__name__, _HOME)
