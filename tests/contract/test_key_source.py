"""What every `ports.KeySource` promises, over each adapter."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import anyio
import pytest
from jwks_stub import ALGORITHMS, HeldClock, JwksStub, document, jwk, jwks, reply

from guestpass.adapters.remote_jwks import RemoteJwks
from guestpass.adapters.static_jwks import StaticJwks
from guestpass.core.model import Thumbprint
from guestpass.errors import ConfigError
from guestpass.ports import KeySource

pytestmark = pytest.mark.anyio

Publish = Callable[[bytes], AbstractAsyncContextManager[KeySource]]


@asynccontextmanager
async def static(published: bytes) -> AsyncIterator[KeySource]:
    yield StaticJwks(published, algorithms=ALGORITHMS)


@asynccontextmanager
async def remote(published: bytes) -> AsyncIterator[KeySource]:
    async with JwksStub(reply(published)).listening() as stub:
        yield RemoteJwks(stub.url, algorithms=ALGORITHMS, clock=HeldClock())


@pytest.fixture(params=[static, remote])
def publish(request: pytest.FixtureRequest) -> Publish:
    adapter: Publish = request.param
    return adapter


async def kids(source: KeySource, kid: str | None, algorithm: str = "EdDSA") -> list[str | None]:
    return [key.kid for key in await source.find(kid, algorithm)]


async def test_a_key_is_found_by_kid_and_algorithm(publish: Publish) -> None:
    async with publish(jwks("a", "b")) as source:
        assert await kids(source, "a") == ["a"]
        assert await kids(source, "b") == ["b"]
        assert await kids(source, "a", "RS256") == []


async def test_an_unknown_kid_is_an_empty_answer_not_an_error(publish: Publish) -> None:
    async with publish(jwks("a")) as source:
        assert await kids(source, "../../etc/passwd") == []
        assert await kids(source, "") == []


async def test_a_token_without_kid_gets_the_only_key_there_is(publish: Publish) -> None:
    async with publish(jwks("a")) as source:
        assert await kids(source, None) == ["a"]
    async with publish(jwks("a", "b")) as source:
        assert await kids(source, None) == []


async def test_two_keys_under_one_kid_are_both_candidates(publish: Publish) -> None:
    """K10: the conflict is the issuer's; the right key must still verify."""
    async with publish(document([jwk("a"), jwk("a", of="other")])) as source:
        found = await source.find("a", "EdDSA")
        assert len({key.thumbprint for key in found}) == 2


@pytest.mark.parametrize(
    "neighbour",
    [
        None,
        7,
        {},
        {"kty": "XYZ", "kid": "a"},
        jwk("n") | {"x": "AA"},
        jwk("n") | {"use": "enc"},
        jwk("n") | {"key_ops": ["sign"]},
        jwk("n") | {"alg": "ES256"},
        jwk("n") | {"kid": 7},
        {"kty": "oct", "kid": "n", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "n", "n": "gQ", "e": "AQAB"},
        {"kty": "RSA", "kid": "n", "n": "gQ", "e": "AQ"},
    ],
)
async def test_a_broken_neighbour_neither_verifies_nor_takes_the_good_key_along(
    publish: Publish, neighbour: object
) -> None:
    """K9, K10."""
    async with publish(document([neighbour, jwk("a"), neighbour])) as source:
        assert await kids(source, "a") == ["a"]
        assert await kids(source, "n") == []


async def test_once_rechecked_an_answer_stands_for_a_while(publish: Publish) -> None:
    async with publish(jwks("a")) as source:
        await source.recheck()
        assert source.recheck_at > HeldClock().monotonic()


async def test_no_key_is_said_to_have_left_while_all_are_there(publish: Publish) -> None:
    retired: list[frozenset[Thumbprint]] = []
    async with publish(jwks("a")) as source:
        source.on_retired(retired.append)
        await source.recheck()
        await kids(source, "unknown")
    assert retired == []


async def test_it_runs_until_it_is_cancelled_and_serves_meanwhile(publish: Publish) -> None:
    ended = []

    async def run(source: KeySource) -> None:
        await source.run()
        ended.append(source)

    async with publish(jwks("a")) as source, anyio.create_task_group() as tasks:
        tasks.start_soon(run, source)
        await anyio.wait_all_tasks_blocked()
        assert await kids(source, "a") == ["a"]
        assert ended == []
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("published", [b"", b"null", b'{"keys": []}', document([{"kty": "oct", "k": "AA"}])])
async def test_static_keys_that_verify_nothing_are_a_mistake_at_start_up(published: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        StaticJwks(published, algorithms=ALGORITHMS)
    assert caught.value.field == "verify.jwks"
