"""A directory in which the workers of one host post their numbers, so that any of them can tell all of them.

Each worker has a place of its own for as long as it lives, held by a file lock that the system lets go of
however it ends. One that takes over a dead one's place goes on counting where that stopped, so no counter
ever falls, and there are never more places than there were workers at once.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from guestpass.metrics import BY_NAME, Snapshot, from_json, merged, to_json

News = list[tuple[int, dict[str, Any]]]
"""Events with their numbers."""

_MOST_PLACES: Final = 1024


class WorkerBoard:
    """One worker's place on the board; `place` is its number."""

    def __init__(self, directory: Path) -> None:
        """Take the first free place in `directory`, which is there and ours alone.

        Raises:
            OSError: It cannot be written, or there are more than a thousand workers.
        """
        self._directory = directory
        self._descriptor, self.place = _first_free(directory)
        self._before = _lasting(self._read(self.place)[0])

    def post(self, snapshot: Snapshot, news: News) -> None:
        """Replace what this worker has posted: its numbers since it started, and its latest events."""
        document = {"metrics": to_json(self.whole(snapshot)), "news": news}
        written = self._directory / f"{self.place}.new"
        written.write_text(json.dumps(document), "utf-8")
        written.replace(self._directory / f"{self.place}.json")  # at once: a reader sees the old or the new

    def whole(self, snapshot: Snapshot) -> Snapshot:
        """This worker's numbers with those of the dead ones whose place it has."""
        return merged([snapshot, self._before])

    def others(self) -> Iterator[tuple[int, Snapshot, News]]:
        """Place, numbers and events of every other worker; of a dead one only what lasts."""
        for file in sorted(self._directory.glob("*.json")):
            place = int(file.stem)
            if place != self.place:
                snapshot, news = self._read(place)
                yield place, snapshot if self._lives(place) else _lasting(snapshot), news

    def close(self) -> None:
        """Leave the place to another worker."""
        os.close(self._descriptor)

    def _read(self, place: int) -> tuple[Snapshot, News]:
        try:
            document = json.loads((self._directory / f"{place}.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}, []
        return from_json(document["metrics"]), [(number, line) for number, line in document["news"]]

    def _lives(self, place: int) -> bool:
        descriptor = os.open(self._directory / f"{place}.lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)


def _first_free(directory: Path) -> tuple[int, int]:
    for place in range(_MOST_PLACES):
        descriptor = os.open(directory / f"{place}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return descriptor, place
    raise OSError(f"more than {_MOST_PLACES} workers share {directory}")


def _lasting(snapshot: Snapshot) -> Snapshot:
    """What holds after a worker's end: what it counted, not what it was."""
    return {name: values for name, values in snapshot.items() if BY_NAME[name].kind != "gauge"}
