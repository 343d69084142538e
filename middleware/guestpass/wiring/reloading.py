"""Takes over routes and upstreams of a changed configuration on SIGHUP; a part of the composition root.

Nothing of a request is dropped: what is under way ends on the connections that it began with. A configuration
that breaks a rule changes nothing.
"""

import logging
import signal
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Final

import anyio
from anyio import to_thread

from guestpass import events
from guestpass.config import Settings
from guestpass.errors import ConfigError
from guestpass.wiring.backends import Backends

HANGUP: Final = signal.SIGHUP


class Reloading:
    """Keeps `backends` as the configuration says that `read` finds."""

    def __init__(self, backends: Backends, settings: Settings, read: Callable[[], Settings]) -> None:
        """Start from `settings`, by which `backends` were built."""
        self._backends = backends
        self._settings = settings
        self._read = read

    async def run(self) -> None:
        """Reload at each SIGHUP, for ever. In the main thread, as only that hears of signals."""
        with anyio.open_signal_receiver(HANGUP) as hangups:
            # `serve` holds it back until here, so that none ends a worker that is still starting.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {HANGUP})
            async for _ in hangups:
                await self.reload()

    async def reload(self) -> None:
        """Take over what can be; say in one line what was, and which changes wait for a restart."""
        try:
            # In a thread, as files are read, and certificates of a system by the hundred.
            found = await to_thread.run_sync(self._read)
            wanted = replace(self._settings, upstream=found.upstream, routes=found.routes)
            made = await to_thread.run_sync(self._backends.prepared, wanted)
        except ConfigError as error:
            events.emit(events.CONFIG_REFUSED, level=logging.ERROR, field=error.field, rule=error.rule)
            return
        changed = sorted(_differences(self._settings, wanted))
        kept = self._backends.adopt(made)
        self._settings = wanted
        left = sorted(_differences(wanted, found))
        events.emit(
            events.CONFIG_RELOADED,
            level=logging.WARNING if left else logging.INFO,
            changed=", ".join(changed) or None,
            kept=kept,
            needs_restart=", ".join(left) or None,
        )


def _differences(one: Settings, other: Settings) -> Iterator[str]:
    """The names of the settings that differ, never their values."""
    for section in fields(Settings):
        before, after = getattr(one, section.name), getattr(other, section.name)
        if before == after:
            continue
        if is_dataclass(before) and is_dataclass(after):
            for setting in fields(before):
                if getattr(before, setting.name) != getattr(after, setting.name):
                    yield f"{section.name}.{setting.name}"
        else:
            yield section.name
