"""All workers of one host as one: their metrics, and what has happened in them of late."""

import os
from pathlib import Path
from typing import Final

import anyio

from guestpass.adapters.worker_board import WorkerBoard
from guestpass.metrics import Snapshot, merged
from guestpass.readings import Readings

BOARD: Final = "_GUESTPASS_WORKER_BOARD"
"""Names the directory that the workers of one `serve` share; no setting, as `serve` makes it."""

_EVERY: Final = 1.0


class Fleet:
    """This worker, and the others if there are any."""

    def __init__(self, readings: Readings, board: WorkerBoard | None) -> None:
        """Speak for `readings`, and for all that post on `board`; None: there is one worker."""
        self.readings = readings
        self.board = board

    async def snapshot(self) -> Snapshot:
        """Every metric of all workers; this one's as they are now, the others' at most a second old."""
        own = await self.readings.snapshot()
        if self.board is None:
            return own
        return merged([self.board.whole(own), *(snapshot for _, snapshot, _ in self.board.others())])

    async def run(self) -> None:
        """Post this worker's numbers, for ever; then leave the place to the worker that replaces this one."""
        if self.board is None:
            return
        try:
            while True:
                self.board.post(await self.readings.snapshot(), [])
                await anyio.sleep(_EVERY)
        finally:
            # What was counted in the last second counts too.
            with anyio.CancelScope(shield=True):
                self.board.post(await self.readings.snapshot(), [])
            self.board.close()


def board_from_env() -> WorkerBoard | None:
    """The board of this worker's `serve`, if there is one."""
    directory = os.environ.get(BOARD)
    return None if directory is None else WorkerBoard(Path(directory))
