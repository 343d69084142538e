"""Our own paths beside the guarded app, and what is published on one of them."""

import pytest
from kit import drive, http_scope, token, world
from shells import App, carrying, converse, websocket_scope
from starlette.types import Receive, Scope, Send

from guestpass.asgi.health import Livez
from guestpass.asgi.middleware import GuestTokenMiddleware
from guestpass.asgi.published_keys import PublishedKeys
from guestpass.asgi.site import Site

pytestmark = pytest.mark.anyio


class Marked:
    """An app that only says it was asked."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)


async def test_exactly_our_paths_are_ours() -> None:
    """P9, P12: no prefix, no trailing slash, no other case."""
    own, app = Marked(), Marked()
    site = Site(app, {"/livez": own})
    await drive(site, http_scope(path="/livez"))
    assert (len(own.scopes), len(app.scopes)) == (1, 0)
    for path in ("/livez/", "/LIVEZ", "/livez/x", "/x/livez", "/livez?x", "//livez", "/"):
        await drive(site, http_scope(path=path))
    assert (len(own.scopes), len(app.scopes)) == (1, 7)


async def test_the_lifespan_and_websockets_are_the_apps() -> None:
    own, app = Marked(), Marked()
    site = Site(app, {"/chat": own})
    await drive(site, {"type": "lifespan"})
    await converse(site, websocket_scope(None))
    assert [scope["type"] for scope in app.scopes] == ["lifespan", "websocket"]
    assert own.scopes == []


async def test_paths_added_to_the_mapping_later_are_not_served() -> None:
    """What is open is settled at start-up."""
    paths = {"/livez": Livez()}
    own, app = Marked(), Marked()
    site = Site(app, paths)
    paths["/later"] = own  # type: ignore[assignment]  # an app like any other
    await drive(site, http_scope(path="/later"))
    assert len(app.scopes) == 1


async def test_beside_a_guarded_app_our_paths_need_no_token_and_its_own_do() -> None:
    app = App()
    site = Site(GuestTokenMiddleware(app, gate=world().gate), {"/livez": Livez()})
    assert (await drive(site, http_scope(path="/livez"))).status == 200
    assert (await drive(site, http_scope(path="/chat"))).status == 401
    assert (await drive(site, carrying(token()))).status == 200
    assert len(app.scopes) == 1


async def test_published_keys_are_asked_for_anew_and_kept_for_less_than_keys_overlap() -> None:
    documents = iter([b'{"keys":[1]}', b'{"keys":[2]}', b'{"keys":[2]}'])
    app = PublishedKeys(lambda: next(documents))
    first = await drive(app, http_scope())
    assert dict(first.headers) == {
        b"content-type": b"application/jwk-set+json",
        b"content-length": b"12",
        b"cache-control": b"public, max-age=300",
    }
    assert first.body == b'{"keys":[1]}'
    assert (await drive(app, http_scope())).body == b'{"keys":[2]}'
    head = await drive(app, http_scope("HEAD"))
    assert (head.body, head.values(b"content-length")) == (b"", [b"12"])
