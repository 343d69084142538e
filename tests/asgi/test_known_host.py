"""The admin port's Host: by which names it may be asked for, against pages that rebind theirs."""

import pytest
from kit import drive, http_scope
from starlette.responses import PlainTextResponse

from guestpass.asgi.known_host import KnownHost
from guestpass.config import ServerSettings
from guestpass.errors import ConfigError

pytestmark = pytest.mark.anyio

APP = KnownHost(PlainTextResponse("how it is"), ["Gateway.internal"])


async def status(*hosts: bytes) -> int:
    sent = await drive(APP, http_scope(path="/status", headers=[(b"host", host) for host in hosts]))
    assert (b"how it is" in sent.body) is (sent.status == 200)
    return sent.status


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1",
        b"127.0.0.1:9090",
        b"10.1.2.3:9090",
        b"[::1]:9090",
        b"[::1]",
        b"localhost",
        b"LocalHost:9090",
        b"gateway.internal",
        b"GATEWAY.internal:9090",
    ],
)
async def test_addresses_localhost_and_known_names_are_answered(host: bytes) -> None:
    assert await status(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:9090",
        b"127.0.0.1.evil.example",
        b"localhost.evil.example:9090",
        b"evil.gateway.internal",
        b"xgateway.internal",
        b"[::1].evil.example",
        b"127.0.0.1@evil.example",
        b"localhost@evil.example",
        b"localhost:1@evil.example",
        b"",
        b"\xff",
    ],
)
async def test_any_other_name_may_be_a_pages_and_is_not(host: bytes) -> None:
    assert await status(host) == 421


async def test_of_several_each_must_be_known_and_without_any_it_is_no_browser() -> None:
    assert await status(b"127.0.0.1", b"evil.example") == 421
    assert await status() == 200


@pytest.mark.parametrize("name", ["http://gateway", "gateway:9090", "", "*", "a..b", "a b"])
def test_a_name_is_no_url_and_no_pattern(name: str) -> None:
    with pytest.raises(ConfigError, match=r"server\.admin_names"):
        ServerSettings(admin_names=(name,))
