"""Every example of a framework starts as its README says, knows its guest, and rotates its token."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from running import GUESTPASS, ROOT, VENDOR, Running, running
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

EXAMPLES = ROOT / "examples"
VISITOR = {"name": "Grace Höpper", "email": "grace@example.org"}

# Folder, the app in it, and a path of its own that tells the guest.
APPS = [
    ("fastapi", "app:app", "/me"),
    ("starlette", "app:app", "/me"),
    ("django", "app:application", "/me"),
    ("mounted", "app:app", "/shop/me"),
]


@contextmanager
def example(folder: str, app: str, env: dict[str, str]) -> Iterator[Running]:
    """An example under uvicorn, with the settings file that its README names."""
    config = {"GUESTPASS_CONFIG": "guestpass.toml"} if (EXAMPLES / folder / "guestpass.toml").exists() else {}
    # Fail where the lifespan fails, rather than serve without what runs beside requests.
    command = (sys.executable, "-m", "uvicorn", app, "--port", "0", "--lifespan", "on")
    with running(*command, cwd=EXAMPLES / folder, env={**env, **config}) as started:
        yield started


def first_token(url: str) -> str:
    answer = httpx.post(f"{url}/guestpass/token", json=VISITOR, trust_env=False)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["token"])


def get(url: str, token: str | None = None) -> httpx.Response:
    headers = {} if token is None else {"X-Guest-Token": token}
    return httpx.get(url, headers=headers, trust_env=False)


@pytest.mark.parametrize(("folder", "app", "path"), APPS)
def test_an_asgi_app_is_guarded_and_knows_its_guest(
    folder: str, app: str, path: str, vendor: dict[str, str]
) -> None:
    with example(folder, app, vendor) as started:
        url = started.url("running on")
        assert get(f"{url}{path}").status_code == 401
        guest = get(f"{url}{path}", first_token(url)).json()
    assert guest.pop("subject")
    assert guest == VISITOR


@pytest.mark.parametrize(("folder", "app", "path"), APPS)
def test_a_successor_comes_with_the_response(folder: str, app: str, path: str) -> None:
    """The rotation window is longer than the token's life, so the first response is the one."""
    with running(*GUESTPASS, "fake-vendor", "--port", "0", "--control") as vendor:
        gateway = vendor.url()
        env = {**VENDOR, "GUESTPASS_ISSUER__GATEWAY": gateway, "GUESTPASS_POLICY__ROTATE_BEFORE": "3600"}
        with example(folder, app, env) as started:
            url = started.url("running on")
            token = first_token(url)
            # Later than the first, and so fit to follow it.
            httpx.post(f"{gateway}/__fake__/clock", json={"skew": 5}, trust_env=False).raise_for_status()
            answer = get(f"{url}{path}", token)
    assert answer.status_code == 200
    assert answer.headers["x-guest-token"] not in ("", token)


@pytest.mark.parametrize("folder", ["fastapi", "starlette"])
def test_the_websocket_opens_for_a_guest_and_for_no_one_else(folder: str, vendor: dict[str, str]) -> None:
    with example(folder, "app:app", vendor) as started:
        url = started.url("running on")
        socket = url.replace("http://", "ws://") + "/echo"
        with pytest.raises(InvalidStatus), connect(socket, proxy=None):
            pass
        offered = ["guestpass", f"guestpass.token.{first_token(url)}"]
        with connect(socket, subprotocols=offered, proxy=None) as websocket:  # type: ignore[arg-type]  # plain text is a subprotocol
            websocket.send("hello")
            assert websocket.recv(timeout=20) == "Grace Höpper: hello"


def test_a_fastapi_route_follows_the_rule_for_its_path(vendor: dict[str, str]) -> None:
    with example("fastapi", "app:app", vendor) as started:
        url = started.url("running on")
        assert get(f"{url}/greeting").json() == "Hello, stranger."
        assert get(f"{url}/greeting", first_token(url)).json() == "Hello, Grace Höpper."
        assert get(f"{url}/greeting", "bad").status_code == 401
        assert get(f"{url}/docs").status_code == 200
        assert "guest" in get(f"{url}/openapi.json").json()["components"]["securitySchemes"]


def test_what_is_beside_the_mounted_app_is_open(vendor: dict[str, str]) -> None:
    with example("mounted", "app:app", vendor) as started:
        url = started.url("running on")
        assert get(f"{url}/").text == "Anyone may read this.\n"
        assert get(f"{url}/shop/nowhere").status_code == 401


def test_the_lifespan_that_django_refuses_is_answered(vendor: dict[str, str]) -> None:
    with example("django", "app:application", vendor) as started:
        started.said("Application startup complete")
        started.stop()
        started.said("Application shutdown complete")
