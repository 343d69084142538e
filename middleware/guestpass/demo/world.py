"""The three processes of the demo, and what a visitor's browser can ask of them over HTTP."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Final, Self

import httpx

from guestpass.demo.desk import PATH, desk
from guestpass.demo.processes import Child, ChildError, Processes, free_port
from guestpass.fake_vendor.serving import serving

_SETTINGS: Final = {
    "GENESYS_CLIENT_ID": "fake-client",
    "GENESYS_CLIENT_SECRET": "fake-secret",
    # A vendor that comes back has new keys here, and nobody wants to wait half a minute for them.
    "GUESTPASS_VERIFY__COOLDOWN": "0.5",
    # Fifty clients, a server and a vendor may have to share one slow core.
    "GUESTPASS_POLICY__ROTATION_WAIT": "5",
    "GUESTPASS_LIMITS__TOKEN_ENDPOINT": "off",
    "GUESTPASS_SERVER__LOG_FORMAT": "json",
}
_PORTS: Final = {"vendor": 9100, "backend": 9000, "proxy": 8080}
# What the page is made of is no business of the backend's, and is had without a token.
_CONFIG: Final = f"""
[[rules]]
path = "{PATH}*"
protection = "off"

[[routes]]
path = "{PATH}*"
upstream = "{{desk}}"
"""
_PARALLEL: Final = 64
_HALF_AN_HOUR: Final = 1800
_PATIENCE: Final = 30.0  # seconds until the proxy must mint again
LIFETIME: Final = 40  # seconds that a token lives while one looks at the page
ENDPOINT: Final = "/guestpass/token"
TOKEN: Final = "X-Guest-Token"  # noqa: S105  a field's name


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, as far as the story looks at it."""

    status: int
    fields: httpx.Headers
    json: Mapping[str, Any]

    @property
    def identity(self) -> Mapping[str, str]:
        """The identity variables that the backend found in its environ."""
        identity: Mapping[str, str] = self.json.get("identity", {})
        return identity

    @property
    def successor(self) -> str | None:
        """The token that the response carries."""
        successor: str | None = self.fields.get(TOKEN)
        return successor


class World:
    """Starts everything when it is entered, and ends everything when it is left."""

    def __init__(self, *, nice_ports: bool, page: bool, lifetime: int = _HALF_AN_HOUR) -> None:
        """Set the stage.

        Args:
            nice_ports: Take ports that a person can remember, as far as they are free.
            page: Serve the page too, in this process.
            lifetime: Seconds that a token lives.
        """
        self._lifetime = lifetime
        self._ports = _PORTS if nice_ports else dict.fromkeys(_PORTS, 0)
        self._page = page
        self._resources = ExitStack()
        self.processes = Processes()
        # No environment proxies, no cookies that stay: what is sent is what a step says.
        limits = httpx.Limits(max_connections=_PARALLEL, max_keepalive_connections=_PARALLEL)
        self._http = httpx.Client(trust_env=False, timeout=15, limits=limits)
        self.vendor: Child
        self.backend: Child
        self.proxy: Child

    def __enter__(self) -> Self:
        self.processes.__enter__()
        try:
            self._start()
        except BaseException as exc:
            self.__exit__(type(exc), exc, exc.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self.processes.__exit__(kind, error, trace)
        self._resources.close()

    def _start(self) -> None:
        ports = {name: str(free_port(port)) for name, port in self._ports.items()}
        self.backend = self.processes.start("the backend", "guestpass.demo.backend", ports["backend"])
        self.start_vendor(ports["vendor"])
        config = ("--config", self._serve_page()) if self._page else ()
        self.proxy = self.processes.start(
            "the proxy",
            *("guestpass", "serve", "--upstream", self.backend.wait(), "--port", ports["proxy"], *config),
            **_SETTINGS,
            GUESTPASS_ISSUER__GATEWAY=self.vendor.url,
        )
        self.proxy.wait()

    def _serve_page(self) -> str:
        """Serve the page; the path of the configuration that has the proxy route to it."""
        url = self._resources.enter_context(serving(desk(self)))
        folder = self._resources.enter_context(TemporaryDirectory(prefix="guestpass-demo-"))
        config = Path(folder, "guestpass.toml")
        config.write_text(_CONFIG.format(desk=url), "utf-8")
        return str(config)

    @property
    def page(self) -> str:
        """The page's URL."""
        return f"{self.proxy.url}{PATH}"

    def start_vendor(self, port: str) -> None:
        """Start the fake vendor, with its control plane."""
        self.vendor = self.processes.start(
            "the fake vendor",
            *("guestpass", "fake-vendor", "--control", "--port", port, "--lifetime", str(self._lifetime)),
        )
        self.vendor.wait()

    def restart_vendor(self) -> None:
        """Start a vendor again where the stopped one was."""
        self.start_vendor(self.vendor.url.rpartition(":")[2])

    def shorten_lives(self) -> None:
        """Have tokens live `LIFETIME` seconds from now on, so that one can watch them rotate."""
        self._lifetime = LIFETIME
        self.vendor.stop()
        self.restart_vendor()
        # After an outage the proxy leaves the issuer alone for a moment, which no visitor should meet.
        until = monotonic() + _PATIENCE
        while (answer := self.ask_token("Ada")).status != HTTPStatus.OK:
            if monotonic() > until:
                raise ChildError(f"the proxy does not mint again: {answer.json}")
            sleep(float(answer.fields.get("retry-after", "1")))

    def get(self, path: str, token: str | None = None, **fields: str) -> Answer:
        """Ask the proxy for `path`."""
        carried = {} if token is None else {TOKEN: token}
        response = self._http.get(self.proxy.url + path, headers={**carried, **fields})
        return Answer(response.status_code, response.headers, response.json())

    def ask_token(self, name: str) -> Answer:
        """Ask the token endpoint for the token of a visitor."""
        body = {"name": name, "email": f"{name.lower()}@example.org"}
        response = self._http.post(self.proxy.url + ENDPOINT, json=body)
        return Answer(response.status_code, response.headers, response.json())

    def token(self, name: str) -> str:
        """The token of a visitor."""
        answer = self.ask_token(name)
        return str(answer.json["token"])

    def token_about_to_expire(self, name: str) -> str:
        """A token that the vendor stamps as minted 28 minutes ago, so that nobody has to wait for that."""
        self._control("POST", "clock", {"skew": dict.fromkeys(("iat", "nbf", "exp"), -28 * 60)})
        try:
            return self.token(name)
        finally:
            self._control("POST", "clock", {"skew": 0})

    def mints(self) -> int:
        """How many tokens the vendor has minted, by its own books."""
        return int(self._state()["mints"])

    def issuer(self) -> dict[str, Any]:
        """Whether the vendor is on, and how many tokens it has minted."""
        state = self._state()
        return {"on": not state["faults"], "mints": state["mints"]}

    def switch_issuer(self, *, on: bool) -> None:
        """Have the vendor answer, or cut every connection."""
        self._control("DELETE", "faults")
        if not on:
            self._control("POST", "faults", {"action": "reset_before"})

    def _state(self) -> Any:
        return self._http.get(f"{self.vendor.url}/__fake__/state").raise_for_status().json()

    def _control(self, method: str, name: str, body: Mapping[str, object] | None = None) -> None:
        self._http.request(method, f"{self.vendor.url}/__fake__/{name}", json=body).raise_for_status()
