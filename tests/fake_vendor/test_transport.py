"""Faults that only a real socket shows, under both of uvicorn's parsers."""

import json
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Literal

import httpx
import pytest
from vendor_client import ADA, CREDENTIALS, FORM, JWKS, LOGIN, MINT, bearer

from guestpass.testing import FakeVendor, serving

TIMEOUT = httpx.Timeout(5)


@pytest.fixture(scope="module", params=["h11", "httptools"])
def served(request: pytest.FixtureRequest) -> Iterator[FakeVendor]:
    """One server a parser, as starting one takes longer than any of these tests."""
    vendor = FakeVendor(control=True)
    parser: Literal["h11", "httptools"] = request.param
    with serving(vendor, http=parser):
        yield vendor


@pytest.fixture
def vendor(served: FakeVendor) -> FakeVendor:
    served.reset()
    return served


def get(vendor: FakeVendor, path: str = JWKS, **options: Any) -> httpx.Response:
    return httpx.get(vendor.url + path, **{"timeout": TIMEOUT, **options})


def mint(vendor: FakeVendor) -> httpx.Response:
    login = httpx.post(vendor.url + LOGIN, data=FORM, auth=CREDENTIALS, timeout=TIMEOUT)
    access = login.json()["access_token"]
    return httpx.post(vendor.url + MINT, json=ADA, headers=bearer(access), timeout=TIMEOUT)


def octets(vendor: FakeVendor, request: bytes) -> bytes:
    """Everything that comes back until the vendor closes the connection."""
    host, port = vendor.url.removeprefix("http://").split(":")
    received = b""
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(request)
        while chunk := sock.recv(65_536):
            received += chunk
    return received


def test_a_guest_token_is_had_over_http(vendor: FakeVendor) -> None:
    answer = mint(vendor)
    assert answer.status_code == 200
    assert set(answer.json()) == {"token", "expires_at"}


def test_one_date_and_no_server_field_reach_the_wire(vendor: FakeVendor) -> None:
    vendor.clock.set_skew({"date": -86_400})
    answer = get(vendor)
    assert len(answer.headers.get_list("date")) == 1
    assert "server" not in answer.headers


def test_head_has_fields_and_no_body_on_the_wire(vendor: FakeVendor) -> None:
    wire = octets(vendor, f"HEAD {JWKS} HTTP/1.1\r\nHost: vendor\r\nConnection: close\r\n\r\n".encode())
    assert wire.startswith(b"HTTP/1.1 200 ")
    assert wire.endswith(b"\r\n\r\n")
    assert wire.count(b"\r\n\r\n") == 1


def test_a_revocation_is_a_204_without_a_length_on_the_wire(vendor: FakeVendor) -> None:
    """RFC 9110 §8.6 forbids the field, and a client that reads on would hang."""
    exchange = {
        "deploymentId": "fake-deployment",
        "oauth": {"code": "c", "redirectUri": "https://shop.example"},
    }
    path = "/api/v2/webdeployments/token"
    with httpx.Client(base_url=vendor.url, timeout=TIMEOUT) as client:
        jwt = client.post(f"{path}/oauthcodegrantjwtexchange", json=exchange).json()["jwt"]
        revoked = client.delete(f"{path}/revoke", headers=bearer(jwt))
        again = client.delete(f"{path}/revoke", headers=bearer(jwt))
    assert (revoked.status_code, revoked.content, again.status_code) == (204, b"", 401)
    assert "content-length" not in revoked.headers


@pytest.mark.parametrize("action", ["reset_before", "reset_after"])
def test_a_reset_closes_the_connection_without_one_octet(
    vendor: FakeVendor, caplog: pytest.LogCaptureFixture, action: str
) -> None:
    vendor.faults.add(action, route="jwks", nth=1)
    with caplog.at_level(logging.INFO, logger="uvicorn.error"):
        assert octets(vendor, f"GET {JWKS} HTTP/1.1\r\nHost: vendor\r\n\r\n".encode()) == b""
    assert get(vendor).status_code == 200, "the vendor itself goes on"
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(("action", "mints"), [("reset_before", 0), ("reset_after", 1)])
def test_a_reset_before_the_handler_mints_nothing_and_after_it_loses_a_token(
    vendor: FakeVendor, action: str, mints: int
) -> None:
    vendor.faults.add(action, route="mint")
    with pytest.raises(httpx.RemoteProtocolError):
        mint(vendor)
    assert vendor.mints == mints
    entry = vendor.journal[-1]
    assert (entry.fault, entry.outcome, entry.status) == (action, *(("ok", 200) if mints else ("none", 0)))


def test_a_truncated_body_is_cut_short_of_its_content_length(vendor: FakeVendor) -> None:
    whole = get(vendor).content
    vendor.faults.add("truncated", nth=1)
    wire = octets(vendor, f"GET {JWKS} HTTP/1.1\r\nHost: vendor\r\n\r\n".encode())
    fields, _, body = wire.partition(b"\r\n\r\n")
    assert b"content-length: %d" % len(whole) in fields.lower()
    assert body == whole[: len(whole) // 2]


def test_a_hang_outlasts_the_client(vendor: FakeVendor) -> None:
    vendor.faults.add("hang", nth=1)
    with pytest.raises(httpx.ReadTimeout):
        get(vendor, timeout=0.1)
    assert get(vendor).status_code == 200


def test_a_slow_vendor_sends_no_field_before_its_time(vendor: FakeVendor) -> None:
    vendor.faults.add("slow", nth=1, seconds=30)
    with pytest.raises(httpx.ReadTimeout):
        get(vendor, timeout=0.1)
    vendor.faults.clear()
    vendor.faults.add("slow", seconds=0.05)
    answer = get(vendor)
    assert answer.elapsed.total_seconds() >= 0.05
    assert answer.json()["keys"]


def test_a_drip_keeps_each_read_alive_but_is_never_done(vendor: FakeVendor) -> None:
    """A timeout per read does not notice it; only a deadline for the whole does."""
    vendor.faults.add("drip", nth=1, seconds=0.02)
    received = b""
    with httpx.stream("GET", vendor.url + JWKS, timeout=1) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_raw():
            received += chunk
            if len(received) >= 5:
                break
    assert 5 <= len(received) < 20
    assert b'{"keys"'.startswith(received[:7])


def test_a_fast_drip_is_the_right_document_in_the_end(vendor: FakeVendor) -> None:
    whole = get(vendor).content
    vendor.faults.add("drip", seconds=0)
    assert get(vendor).content == whole


def test_a_huge_document_arrives_whole(vendor: FakeVendor) -> None:
    vendor.faults.add("huge", size=2_000_000)
    answer = get(vendor)
    assert len(answer.content) == 2_000_000
    assert answer.json()["keys"]


def test_a_client_that_leaves_within_its_request_is_no_call(vendor: FakeVendor) -> None:
    host, port = vendor.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(f"POST {LOGIN} HTTP/1.1\r\nHost: vendor\r\nContent-Length: 100\r\n\r\ngrant".encode())
    assert get(vendor).status_code == 200
    assert [entry.path for entry in vendor.journal] == [JWKS]


def test_the_control_plane_works_over_http(vendor: FakeVendor) -> None:
    rule = {"action": "server_error", "route": "jwks", "nth": 1}
    added = httpx.post(vendor.url + "/__fake__/faults", content=json.dumps(rule), timeout=TIMEOUT)
    assert added.status_code == 200
    assert [get(vendor).status_code for _ in range(2)] == [503, 200]


def test_a_request_that_hangs_does_not_keep_the_server_from_ending() -> None:
    vendor = FakeVendor()
    vendor.faults.add("hang")
    with serving(vendor) as url, httpx.Client(base_url=url) as client:
        assert vendor.url == url
        with pytest.raises(httpx.ReadTimeout):
            client.get(JWKS, timeout=0.05)
    assert vendor.url == ""
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + JWKS, timeout=1)


def test_it_serves_in_the_foreground_until_it_is_told_to_end() -> None:
    code = (
        "import socket; from guestpass.fake_vendor import FakeVendor;"
        "from guestpass.fake_vendor.serving import serve;"
        "listener = socket.create_server(('127.0.0.1', 0));"
        "print(listener.getsockname()[1], flush=True);"
        "serve(listener, FakeVendor())"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            answer = httpx.get(f"http://127.0.0.1:{port}{JWKS}", timeout=10)
            assert answer.status_code == 200
            assert len(answer.headers.get_list("date")) == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) in (0, -signal.SIGTERM)
        finally:
            process.kill()
