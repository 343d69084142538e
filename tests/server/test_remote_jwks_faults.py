"""K1, K2, K6, K7, K8, K11, K15: whatever the endpoint does, known keys serve, and it costs little."""

import datetime as dt
import gzip
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwks_stub import (
    ALGORITHMS,
    Answer,
    HeldClock,
    JwksStub,
    document,
    endless,
    hang,
    jwk,
    jwks,
    reply,
    reset,
    reset_in_body,
    slow_fields,
)

from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.adapters.system_clock import SystemClock
from guestpass.core.freshness import State
from guestpass.core.model import Thumbprint
from guestpass.errors import ConfigError, Unavailable

pytestmark = pytest.mark.anyio

MIB = 1 << 20
TIMEOUT = 0.3
GOOD = reply(jwks("a"))
BOMB = gzip.compress(bytes(64 * MIB))
DEEP = b'{"keys": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
HUGE = document([jwk("a"), "x" * 8 * MIB])


@pytest.fixture
async def stub() -> AsyncIterator[JwksStub]:
    async with JwksStub(GOOD).listening() as stub:
        yield stub


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


@pytest.fixture
def source(stub: JwksStub, clock: HeldClock) -> RemoteJwks:
    return RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=clock, timeout=TIMEOUT)


async def finds(source: RemoteJwks, kid: str) -> bool:
    with anyio.fail_after(5):
        return bool(await source.find(kid, "EdDSA"))


@contextmanager
def growing_less_than(limit: int) -> Iterator[None]:
    """Fail if at any moment of the block the process holds `limit` bytes more (the kernel's own mark)."""
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_rss()
    yield
    assert peak_rss() - before < limit


def peak_rss() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM"))


WRONG = {
    "403": (reply(b"{}", status=403), "status"),
    "429": (reply(b"{}", status=429, fields={"Retry-After": "1"}), "status"),
    "500 with keys": (reply(jwks("evil"), status=500), "status"),
    "206": (reply(jwks("evil"), status=206), "status"),
    "HTML": (reply(b"<html>maintenance</html>"), "unusable"),
    "truncated JSON": (reply(jwks("a")[:-9]), "unusable"),
    "cut short": (reply(jwks("a"), fields={"Content-Length": "9999"}), "unreachable"),
    "reset in the body": (reset_in_body, "unreachable"),
    "no body": (reply(b""), "unusable"),
    "not HTTP": (lambda stream: stream.send(b"SSH-2.0-x\r\n\r\n"), "unreachable"),
    "reset": (reset, "unreachable"),
    # K6
    "no keys": (reply(b'{"keys": []}'), "unusable"),
    "keys as an object": (reply(b'{"keys": {}}'), "unusable"),
    "keys null": (reply(b'{"keys": null}'), "unusable"),
    "null": (reply(b"null"), "unusable"),
    "a list": (reply(b"[]"), "unusable"),
    "no usable key": (reply(document([{"kty": "oct", "k": "AA"}, jwk("a") | {"use": "enc"}])), "unusable"),
    # K7
    "hang": (hang, "timeout"),
    "dripped body": (endless(b" ", pause=0.02), "timeout"),
    "dripped fields": (slow_fields, "timeout"),
    "8 MB": (reply(HUGE), "too_large"),
    "endless": (endless(b" " * 65_536), "too_large"),
    "20,000 deep": (reply(DEEP), "unusable"),
    "gzip bomb": (reply(BOMB, fields={"Content-Encoding": "gzip"}), "encoded"),
    "gzip": (reply(gzip.compress(jwks("b")), fields={"Content-Encoding": "gzip"}), "encoded"),
    # K8
    "304 without a copy": (reply(b"", status=304), "status"),
    "redirect to a file": (reply(b"", status=302, fields={"Location": "file:///etc/passwd"}), "status"),
    "redirect to a private address": (
        reply(b"", status=307, fields={"Location": "http://10.0.0.1/"}),
        "status",
    ),
}


@pytest.mark.parametrize(("answer", "reason"), WRONG.values(), ids=WRONG.keys())
async def test_an_outage_leaves_known_keys_in_place(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock, answer: Answer, reason: str
) -> None:
    retired: list[frozenset[Thumbprint]] = []
    source.on_retired(retired.append)
    assert await finds(source, "a")
    stub.answer = answer
    clock.now += 600  # stale from here

    with growing_less_than(20 * MIB), anyio.fail_after(TIMEOUT + 1):
        await source.recheck()

    assert await finds(source, "a")
    assert not await finds(source, "evil")
    assert retired == []
    assert source.health.outcome == reason
    assert source.health.fetches == {"refreshed": 1, reason: 1}
    assert source.health.state is State.STALE
    assert len(stub.requests) == 2  # the finds above came while backing off


@pytest.mark.parametrize(("answer", "reason"), WRONG.values(), ids=WRONG.keys())
async def test_an_outage_from_the_start_is_a_fault_and_heals_with_the_next_attempt(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock, answer: Answer, reason: str
) -> None:
    """K2: a fault with the time to come back, within 2 s."""
    stub.answer = answer
    with pytest.raises(Unavailable) as caught:
        await finds(source, "a")
    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 1
    assert source.health.outcome == reason

    stub.answer = GOOD
    clock.now += caught.value.retry_after
    assert await finds(source, "a")


async def test_keys_serve_until_max_stale_and_then_fail_closed(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    assert await finds(source, "a")
    stub.answer = reset
    clock.now += 3_599
    assert await finds(source, "a")
    clock.now += 1
    with pytest.raises(Unavailable) as caught:
        await finds(source, "a")
    assert caught.value.retry_after is not None
    assert source.health.state is State.DEAD
    assert source.recheck_at <= clock.monotonic()  # no earlier answer may be relied on


async def test_while_it_fails_the_endpoint_is_asked_ever_more_rarely(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    assert await finds(source, "a")
    stub.answer = reply(b"", status=503)
    clock.now += 600
    for _ in range(2_000):
        await source.recheck()
        clock.now += 1
    # 1, 2, 4, 8, 16, 32 and then 60 s apart, each as short as half of that.
    assert 1 + 2_000 / 60 <= source.health.fetches["status"] <= 7 + 2_000 / 30


async def test_a_redirect_is_not_followed_to_another_host(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock
) -> None:
    async with JwksStub(reply(jwks("evil"))).listening() as canary:
        assert await finds(source, "a")
        stub.answer = reply(b"", status=302, fields={"Location": canary.url})
        clock.now += 600
        await source.recheck()
        assert not await finds(source, "evil")
        assert canary.requests == []


async def test_down_at_the_start_it_heals_in_the_background_within_two_seconds() -> None:
    """K2, with a refused connection and the machine's own clock."""
    stub = JwksStub(GOOD)
    async with stub.listening():
        pass  # the port is known, and closed again
    source = RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=SystemClock())
    with pytest.raises(Unavailable):
        await finds(source, "a")
    assert source.health.outcome == "unreachable"
    async with anyio.create_task_group() as tasks, stub.listening():
        tasks.start_soon(source.run)
        await stub.requested(1)  # within 2 s
        assert await finds(source, "a")
        assert len(stub.requests) == 1
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("cache_control", "lifetime"),
    [("max-age=0", 60), ("no-store", 60), ("max-age=10000000000000", 600), ("max-age=120", 120), ("", 600)],
)
async def test_the_answer_names_its_lifetime_within_bounds(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock, cache_control: str, lifetime: float
) -> None:
    """K11."""
    stub.answer = reply(jwks("a"), fields={"Cache-Control": cache_control})
    await source.recheck()
    assert source.recheck_at == clock.monotonic() + lifetime


async def test_nothing_of_an_answer_or_of_the_environment_reaches_the_next_request(
    stub: JwksStub, source: RemoteJwks, clock: HeldClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    stub.answer = reply(jwks("a"), fields={"Set-Cookie": "s=1", "ETag": '"1"'})
    await source.recheck()
    clock.now += 600
    await source.recheck()
    first, second = stub.requests
    assert first == second
    assert b"cookie" not in second.lower()
    assert b"if-none-match" not in second.lower()
    assert b"accept-encoding: identity" in second.lower()


# --- K15 --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for `localhost` and no other name, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    path.write_bytes(
        signed.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.mark.parametrize(
    ("host", "trusted", "served"),
    [("localhost", True, True), ("127.0.0.1", True, False), ("localhost", False, False)],
    ids=["trusted", "wrong name", "self-signed"],
)
async def test_keys_come_only_from_the_host_that_the_certificate_names(
    certificate: Path, host: str, *, trusted: bool, served: bool
) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate)
    trust = ssl.create_default_context(cafile=str(certificate)) if trusted else None
    async with JwksStub(GOOD).listening(serving) as stub:
        url = f"https://{host}:{stub.port}/jwks"
        source = RemoteJwks(url, algorithms=ALGORITHMS, clock=HeldClock(), tls=trust)
        if served:
            assert await finds(source, "a")
        else:
            with pytest.raises(Unavailable):
                await finds(source, "a")
            assert stub.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.example/jwks",
        "http://10.0.0.1/jwks",
        "http://127.0.0.1.example/jwks",
        "http://localhost.example/jwks",
        "http://127.1/jwks",
        "https://user:secret@keys.example/jwks",
        "https://secret@keys.example/jwks",
        "file:///etc/passwd",
        "ftp://keys.example/jwks",
        "//keys.example/jwks",
        "https:///jwks",
        "https://keys.example:port/jwks",
        "https://[::1/jwks",
        "",
    ],
)
async def test_a_url_that_others_could_answer_or_that_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RemoteJwks(url, algorithms=ALGORITHMS, clock=HeldClock())
    assert caught.value.field == "verify.jwks_url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("timeout", 0.0), ("timeout", float("inf")), ("max_bytes", 0)])
async def test_a_limit_that_limits_nothing_or_everything_is_refused(name: str, value: float) -> None:
    limits: dict[str, Any] = {name: value}
    with pytest.raises(ConfigError) as caught:
        RemoteJwks("https://keys.example/", algorithms=ALGORITHMS, clock=HeldClock(), **limits)
    assert caught.value.field == f"verify.{name}"


async def test_a_host_that_can_have_no_address_is_an_outage(clock: HeldClock) -> None:
    source = RemoteJwks(f"https://{'k' * 64}.example/", algorithms=ALGORITHMS, clock=clock)
    with pytest.raises(Unavailable):
        await finds(source, "a")
    assert source.health.outcome == "unreachable"


@pytest.mark.parametrize(
    "url", ["https://keys.example/jwks?v=1", "http://localhost:1/", "http://127.0.0.9/", "http://[::1]:80/"]
)
async def test_https_and_plain_http_on_loopback_are_accepted(url: str) -> None:
    source = RemoteJwks(url, algorithms=ALGORITHMS, clock=HeldClock())
    assert source.health.state is State.DEAD
    assert source.health.age is None
