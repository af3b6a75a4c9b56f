"""How much may be on its way to a worker that is busy.

    main    -- a run whose lane's cursor is 1 MB -->    worker      the socket is full: main waits until it is read
            <-- the answer with another one -------                 and so does the worker: nobody reads

So no more goes to a busy worker than its socket holds; a run that is beyond that waits in main, which reads answers
meanwhile and sees when one takes too long. A worker that has nothing to do reads, so it may be sent anything.
"""

from __future__ import annotations

from datarax_mp.crews.base import Assignment
from datarax_mp.crews.processes.worker import Worker
from datarax_mp.recipe.work import Run

_WITHOUT_STATE = 1024  # bytes that a run takes in a socket, as the kernel counts


def fits(worker: Worker, run: Run) -> bool:
    """Whether a run can be sent without waiting. Those without a lane are small, and a worker has two of them."""
    if run.lane is None or not worker.pending:
        return True
    before = sum(_bytes_of(job.run) for job in worker.pending.values() if isinstance(job, Assignment))
    return before + _bytes_of(run) <= worker.channel.room


def _bytes_of(run: Run) -> int:
    state = None if run.lane is None else run.lane.cursor.state
    return _WITHOUT_STATE + (0 if state is None else len(state))
