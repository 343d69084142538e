"""The app of the admin port: health, metrics, events, status; a part of the composition root."""

from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp

from guestpass.asgi.admin import MetricsPage
from guestpass.asgi.health import Livez, Readyz
from guestpass.asgi.known_host import KnownHost
from guestpass.asgi.routes import RoutedProxy
from guestpass.asgi.site import Site
from guestpass.asgi.status import status_pages
from guestpass.asgi.stream import EventStream
from guestpass.config import ServerSettings
from guestpass.gate import Gate
from guestpass.metrics import Snapshot
from guestpass.monitoring.fleet import Fleet, board_from_env
from guestpass.monitoring.readings import LoopLag, Readings
from guestpass.ports import KeySource


def build_admin(
    server: ServerSettings,
    gate: Gate,
    keys: KeySource | None,
    proxy: RoutedProxy | None,
    draining: Callable[[], bool] | None,
) -> ASGIApp:
    """Wire the pages of the admin port, and have `gate` run in the background what they need.

    Args:
        server: Where health is answered on the public port, and so on this one; the names of this port.
        gate: What is reported on.
        keys: Where its keys come from; None where none are published.
        proxy: What stands behind it, if it is ours.
        draining: Whether the process is about to stop; None where that comes without notice.
    """
    lag = LoopLag(gate.clock)
    readings = Readings(gate, keys, proxy, lag)
    fleet = Fleet(readings, board_from_env())
    gate.add_jobs(lag.run, fleet.run)
    upstream = None if proxy is None else lambda: proxy.condition
    pages: dict[str, ASGIApp] = {
        server.livez or "/livez": Livez(),
        server.readyz or "/readyz": Readyz(
            gate, upstream=upstream, explain=readings.ailments, draining=draining
        ),
        "/metrics": MetricsPage(fleet.snapshot, *_prometheus()),
        "/events": EventStream(fleet.news),
        "/status/stream": EventStream(fleet.news, fleet.status),
        **status_pages(),
    }
    return KnownHost(Site(PlainTextResponse("Not Found", 404), pages), server.admin_names)


def _prometheus() -> tuple[Callable[[Snapshot], bytes] | None, str]:
    """What writes the metrics page, and its media type; nothing where the extra is not installed."""
    try:
        from guestpass.adapters.prometheus import CONTENT_TYPE, exposition  # noqa: PLC0415  an extra
    except ModuleNotFoundError:
        return None, "text/plain"
    return exposition, CONTENT_TYPE
