"""All workers of one host as one: their metrics, and what has happened in them of late."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import anyio

from guestpass.adapters.worker_board import WorkerBoard
from guestpass.events import logger
from guestpass.metrics import Snapshot, merged, to_json
from guestpass.monitoring.happenings import Happenings
from guestpass.monitoring.readings import Readings

BOARD: Final = "_GUESTPASS_WORKER_BOARD"
"""Names the directory that the workers of one `serve` share; no setting, as `serve` makes it."""

_EVERY: Final = 1.0


class Fleet:
    """This worker, and the others if there are any."""

    def __init__(self, readings: Readings, board: WorkerBoard | None) -> None:
        """Speak for `readings`, and for all that post on `board`; None: there is one worker."""
        self.readings = readings
        self.board = board
        self.happenings = Happenings()

    async def snapshot(self) -> Snapshot:
        """Every metric of all workers; this one's as they are now, the others' at most a second old."""
        own = await self.readings.snapshot()
        if self.board is None:
            return own
        return merged([self.board.whole(own), *(snapshot for _, snapshot, _ in self.board.others())])

    async def status(self) -> dict[str, Any]:
        """What the status page shows: every metric, and what ails this worker."""
        return {"metrics": to_json(await self.snapshot()), "ailments": self.readings.ailments()}

    def news(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """The latest events of all workers: place, number, and the event as a log line has it."""
        own = 0 if self.board is None else self.board.place
        yield from ((own, number, line) for number, line in self.happenings.news)
        if self.board is not None:
            for place, _, news in self.board.others():
                yield from ((place, number, line) for number, line in news)

    async def run(self) -> None:
        """Listen to events and post this worker's numbers, for ever; then leave its place to another."""
        logger.addHandler(self.happenings)
        try:
            while True:
                await self._post()
                await anyio.sleep(_EVERY)
        finally:
            logger.removeHandler(self.happenings)
            # What was counted in the last second counts too.
            with anyio.move_on_after(_EVERY, shield=True):
                await self._post()
            if self.board is not None:
                self.board.close()

    async def _post(self) -> None:
        if self.board is not None:
            snapshot = await self.readings.snapshot()
            with suppress(OSError):  # a full disk makes numbers old, and must not end the service
                self.board.post(snapshot, list(self.happenings.news))


def board_from_env() -> WorkerBoard | None:
    """The board of this worker's `serve`, if there is one."""
    directory = os.environ.get(BOARD)
    return None if directory is None else WorkerBoard(Path(directory))
