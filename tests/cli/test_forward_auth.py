"""`guestpass forward-auth`: the decision endpoint as a process."""

from collections.abc import Iterator

import httpx
import pytest
from running import GUESTPASS, VENDOR, Running, running

from guestpass.testing import FakeVendor, mint, serving


@pytest.fixture(scope="module")
def vendor() -> Iterator[FakeVendor]:
    vendor = FakeVendor()
    with serving(vendor):
        yield vendor


@pytest.fixture(scope="module")
def server(vendor: FakeVendor) -> Iterator[Running]:
    env = {**VENDOR, "GUESTPASS_ISSUER__GATEWAY": vendor.url}
    with running(*GUESTPASS, "forward-auth", "--port", "0", env=env) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Running) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url(), trust_env=False) as client:
        yield client


def test_it_decides_for_a_proxy_on_this_host(client: httpx.Client, vendor: FakeVendor) -> None:
    asked = {"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/chat"}
    assert client.get("/guestpass/auth/caddy", headers=asked).status_code == 401
    asked["X-Guest-Token"] = mint(name="Ada", key=vendor.keys.signing)
    answer = client.get("/guestpass/auth/caddy", headers=asked)
    assert (answer.status_code, answer.headers["X-Guest-Name"]) == (200, "Ada")
    assert len(answer.headers.get_list("Date")) == 1


def test_the_browsers_first_token_comes_from_it_too(client: httpx.Client) -> None:
    asked = {"name": "Ada", "email": "ada@example.org"}
    token = client.post("/guestpass/token", json=asked).json()["token"]
    told = {"X-Original-Method": "GET", "X-Original-URI": "/", "X-Guest-Token": token}
    assert client.get("/guestpass/auth/nginx", headers=told).status_code == 200
    assert client.get("/guestpass/client.js").status_code == 200


def test_it_says_how_it_is_and_carries_nothing_itself(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").json()["keys"] == "ok"
    assert client.get("/chat").status_code == 404


def test_a_client_is_counted_by_the_address_that_the_proxy_names(client: httpx.Client) -> None:
    """With nobody trusted, all clients behind the proxy would share one limit."""

    def left(address: str) -> int:
        fields = {"X-Forwarded-For": address}
        answer = client.post("/guestpass/token", json={}, headers=fields)
        return int(answer.headers["RateLimit-Remaining"])

    first = left("203.0.113.1")
    assert (left("203.0.113.1"), left("203.0.113.2")) == (first - 1, first)


def test_without_a_vendor_it_says_what_to_set() -> None:
    with running(*GUESTPASS, "forward-auth", "--port", "0") as started:
        assert started.wait() == 2
        assert "GENESYS_CLIENT_ID" in "\n".join(started.lines)


def test_sigterm_ends_it_in_order(server: Running, client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200
    assert server.stop() == 0


def test_behind_a_load_balancer_it_says_first_that_it_is_about_to_stop(vendor: FakeVendor) -> None:
    env = {
        **VENDOR,
        "GUESTPASS_ISSUER__GATEWAY": vendor.url,
        "GUESTPASS_SERVER__DRAIN_DELAY": "60",
    }
    with running(*GUESTPASS, "forward-auth", "--port", "0", env=env) as server:
        url = server.url()
        assert httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
        server.process.terminate()
        server.said("server.draining")
        answer = httpx.get(f"{url}/readyz", trust_env=False)
        assert (answer.status_code, answer.json()) == (503, {"status": "draining"})
        assert httpx.get(f"{url}/livez", trust_env=False).status_code == 200
        assert server.stop() == 0
