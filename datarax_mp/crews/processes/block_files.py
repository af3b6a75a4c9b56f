"""The files that workers write blocks of the source to, as main hands them on."""

from __future__ import annotations

from datarax_mp.core.errors import RemoteError
from datarax_mp.crews.base import Answer, Assignment, Shelving
from datarax_mp.crews.processes.worker import Worker
from datarax_mp.recipe.work import Failed, ReadBlock, Shelved, Written
from datarax_mp.ring import Segment


class BlockFiles:
    """Files of blocks that are being read. One is closed when nobody has it any more.

    That is neither here nor with the shelf: a run whose worker dies needs its blocks once more.
    """

    def __init__(self) -> None:
        self._files: dict[Shelving, Segment] = {}

    def ask(self, worker: Worker, job: Shelving, *, alone: bool) -> Failed | None:
        """Have a worker read a block; what stands against it, if there is no further descriptor.

        Only one that is alone hears what comes next: any of several might read that, and it would be asked for twice.
        """
        try:
            file = self._files[job] = Segment.empty()
        except OSError as error:
            if error.errno is None:  # out of a signal handler
                raise
            return Failed(RemoteError.of(error), Written.nothing())
        reading = job.reading._replace(ahead=job.coming) if alone else job.reading
        worker.ask(job, reading, (file.descriptor(),))
        return None

    def answered(self, job: Shelving, answer: Answer) -> Answer:
        """The answer with the file by which the block is found."""
        file = self._files.pop(job, None)  # an earlier crew asked, where it is not there
        return answer._replace(content=file) if isinstance(answer, Shelved) else answer


def lend(worker: Worker, assignment: Assignment) -> None:
    """Have a worker know the blocks of an assignment."""
    if assignment.shelved:
        epoch, shelved = assignment.epoch, assignment.shelved.items()
        worker.lend({ReadBlock(epoch, number): (block.nbytes, block.content) for number, block in shelved})
