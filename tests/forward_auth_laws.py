"""What must hold behind every proxy: one suite, which each recipe's tests inherit."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import ClassVar

import pytest
from forward_auth_site import ALSO_BY_COOKIE, Answer, Recipe, Site, standing

from guestpass.testing import FakeVendor, mint, signing_key

UPGRADE = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
)
FORGED = ("X-Guest-Subject", "x-guest-name", "X-GUEST-EMAIL")


class Laws:
    """Subclass it with a recipe, and with what this proxy does differently."""

    recipe: ClassVar[Recipe]
    ambiguous: ClassVar[dict[str, int]] = {
        "/public/../admin": 400,
        "/public/%2e%2e/admin": 400,
        "//public/x": 400,
        "/public/x%2fy": 400,
        "/public/..;/admin": 400,
    }
    """Targets that two readers could read differently, and what the client gets."""
    gone_status: ClassVar[int] = 503
    """What the client gets while guestpass does not answer."""

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with standing(cls.recipe, tmp_path_factory.mktemp(cls.recipe.name)) as site:
            yield site

    def successor(self, answer: Answer) -> str | None:
        """The token that the client got, if it got one."""
        if self.recipe.cookie is None:
            return next(iter(answer.values("x-guest-token")), None)
        cookies = [cookie.partition(";")[0].partition("=") for cookie in answer.values("set-cookie")]
        return next((value for name, _, value in cookies if name == self.recipe.cookie), None)

    # --- identity -----------------------------------------------------------------------------------------

    def test_a_good_token_passes_and_the_backend_learns_who_it_is(self, site: Site) -> None:
        answer = site.ask("/chat?room=1", site.token("Grace Hopper"))
        assert (answer.status, answer.body) == (200, b"hello")
        assert site.backend.fields(b"x-guest-name") == [b"Grace%20Hopper"]
        assert site.backend.fields(b"x-guest-email") == [b"grace@example.org"]
        assert len(site.backend.fields(b"x-guest-subject")) == 1
        assert site.backend.requests[-1]["query_string"] == b"room=1"

    def test_the_backend_sees_the_token_only_where_it_is_a_cookie(self, site: Site) -> None:
        """No recipe can take one cookie out of several."""
        token = site.token()
        site.ask("/chat", token)
        site.ask("/chat", token, ("X-Guest-Token", "of-the-client")) if self.recipe.cookie else None
        seen = token in str(site.backend.requests[-1]["headers"])
        assert seen == (self.recipe.cookie is not None)
        assert not site.backend.fields(b"x-guest-token")

    @pytest.mark.parametrize("path", ["/chat", "/public/x"])
    def test_forged_identity_never_arrives(self, site: Site, path: str) -> None:
        forged = [(name, "forged") for name in FORGED]
        answer = site.ask(path, site.token(), *forged, *forged)
        assert answer.status == 200
        values = [value for _, value in site.backend.requests[-1]["headers"]]
        assert b"forged" not in values

    @pytest.mark.parametrize("path", ["/chat", "/public/x"])
    @pytest.mark.parametrize("name", ["X_Guest_Subject", "x_guest-name", "X.Guest.Email"])
    def test_forged_identity_in_another_spelling_never_arrives(
        self, site: Site, path: str, name: str
    ) -> None:
        before = len(site.backend.requests)
        answer = site.ask(path, site.token(), (name, "forged"))
        assert answer.status in (200, 400)
        for request in site.backend.requests[before:]:
            assert b"forged" not in [value for _, value in request["headers"]]
        assert (answer.status == 200) == (len(site.backend.requests) > before)

    @pytest.mark.parametrize(
        "names", ["X-Guest-Subject, X-Guest-Name", "X-Guest-Token", "X-Forwarded-Uri, X-Original-URI"]
    )
    def test_a_client_cannot_have_our_fields_taken_out(self, site: Site, names: str) -> None:
        """A proxy removes what Connection names (RFC 9110 §7.6.1), and must not then remove ours."""
        site.backend.requests.clear()
        answer = site.ask("/chat", site.token(), ("Connection", f"close, {names}"))
        assert answer.status in (200, 400, 401)
        if answer.status == 200:
            assert site.backend.fields(b"x-guest-name") == [b"Ada"]
            assert len(site.backend.fields(b"x-guest-subject")) == 1
        else:
            assert not site.backend.requests

    # --- refusals -----------------------------------------------------------------------------------------

    def test_no_token_is_a_401_with_a_challenge(self, site: Site) -> None:
        before = len(site.backend.requests)
        answer = site.ask("/chat")
        assert answer.status == 401
        assert answer.values("www-authenticate") == ['Bearer realm="guest"']
        assert "no-store" in answer.values("cache-control")[0]
        assert json.loads(answer.body)["code"] == "token_missing"
        assert len(site.backend.requests) == before

    def test_a_tampered_token_is_a_401_that_says_so(self, site: Site) -> None:
        forged = mint(name="Mallory", key=signing_key("mallory"))
        before = len(site.backend.requests)
        answer = site.ask("/chat", forged, ("X-Guest-Subject", "root"))
        assert answer.status == 401
        assert answer.values("www-authenticate") == ['Bearer realm="guest", error="invalid_token"']
        assert len(site.backend.requests) == before

    def test_two_tokens_are_refused(self, site: Site) -> None:
        before = len(site.backend.requests)
        answer = site.ask("/chat", site.token(), site.carrying(site.token("Bob")))
        assert answer.status in (400, 401)
        assert len(site.backend.requests) == before

    def test_a_path_with_two_readings_never_opens_a_guarded_one(self, site: Site) -> None:
        """What a proxy reads for us it reads for the backend: no token, no `/admin` under another name."""
        found = {}
        for path in self.ambiguous:
            site.backend.requests.clear()
            found[path] = site.ask(path).status
            for request in site.backend.requests:
                assert request["raw_path"] == b"/public/x"
        assert found == self.ambiguous

    @pytest.mark.parametrize(
        "target",
        [
            "http://evil.example/public/x",
            "http://evil.example/chat",
            "http://evil.example/public/../chat",
            "/public/x#/../../chat",
            "/public/x?/../chat",
            "/public/x/../../chat?y",
            "/public\\..\\chat",
            "/public/%c0%ae%c0%ae/chat",
            "/PUBLIC/x",
            "/public",
            "*",
        ],
    )
    def test_the_backend_is_asked_for_what_was_judged(self, site: Site, target: str) -> None:
        site.backend.requests.clear()
        site.ask(target)
        assert all(request["raw_path"] == b"/public/x" for request in site.backend.requests)

    def test_an_open_route_asks_for_nothing(self, site: Site) -> None:
        answer = site.ask("/public/x")
        assert (answer.status, answer.body) == (200, b"hello")

    def test_a_client_cannot_name_the_route_it_is_judged_by(self, site: Site) -> None:
        told = [
            (f"X-{word}-{what}", value)
            for word in ("Forwarded", "Original")
            for what, value in (("Uri", "/public/x"), ("URL", "/public/x"), ("Method", "OPTIONS"))
        ]
        assert site.ask("/chat", None, *told).status in (400, 401)
        assert site.ask("/chat", None, ("X-Rewrite-URL", "/public/x")).status == 401

    def test_a_preflight_passes_without_a_token(self, site: Site) -> None:
        asked = [("Origin", "https://shop.example"), ("Access-Control-Request-Method", "POST")]
        assert site.ask("/chat", None, *asked, method="OPTIONS").status == 200
        assert site.ask("/chat", None, method="OPTIONS").status == 401

    def test_a_body_goes_to_the_backend_and_not_through_us(self, site: Site) -> None:
        answer = site.ask("/chat", site.token(), method="POST", body=b"x" * 100_000)
        assert answer.status == 200
        assert site.backend.requests[-1]["method"] == "POST"
        assert site.backend.fields(b"content-length") == [b"100000"]

    def test_a_websocket_opens_for_a_good_token_alone(self, site: Site) -> None:
        site.backend.requests.clear()
        assert site.ask("/socket", None, *UPGRADE).status == 401
        assert not site.backend.requests
        assert site.ask("/socket", site.token(), *UPGRADE, ("X-Guest-Name", "forged")).status == 101
        assert site.backend.requests[-1]["type"] == "websocket"
        assert site.backend.fields(b"x-guest-name") == [b"Ada"]

    def test_a_token_may_be_offered_as_a_websocket_subprotocol(self, site: Site) -> None:
        """A browser can send no field of its own with a WebSocket."""
        for token, status in ((site.token(), 101), ("a.b.c", 401)):
            offered = ("Sec-WebSocket-Protocol", f"guestpass, guestpass.token.{token}")
            assert site.ask("/socket", None, *UPGRADE, offered).status == status

    def test_no_page_of_another_site_opens_a_socket_with_the_guests_cookie(self, site: Site) -> None:
        """P27: so each recipe must hand on where the page is from, and whose site it is on."""
        cookie = ("Cookie", f"{ALSO_BY_COOKIE}={site.token()}")
        own = f"http://127.0.0.1:{site.port}"
        for origin, status in ((own, 101), ("https://evil.example", 403), ("null", 403)):
            answer = site.ask("/socket", None, cookie, *UPGRADE, ("Origin", origin))
            assert answer.status == status, origin

    # --- rotation -----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("status", [200, 404, 500])
    def test_a_token_near_its_end_is_replaced_whatever_the_backend_answers(
        self, site: Site, status: int
    ) -> None:
        old = site.token(left=60)
        answer = site.ask(f"/chat/{status}", old)
        assert answer.status == status
        successor = self.successor(answer)
        assert successor
        assert successor != old
        assert "of-the-backend" not in answer.values("x-guest-token")
        caching = ", ".join(answer.values("cache-control"))
        assert "no-store" in caching
        assert "public" not in caching
        assert not answer.values("etag")
        assert not answer.values("last-modified")
        if self.recipe.cookie is None:
            assert len(answer.values("x-guest-token")) == 1
            assert answer.values("x-guest-token-expires-at")[0].endswith("Z")
            assert 1700 < int(answer.values("x-guest-token-expires-in")[0]) <= 1800
        again = site.ask("/chat", successor)
        assert (again.status, self.successor(again)) == (200, None)

    def test_a_fresh_token_is_not_replaced(self, site: Site) -> None:
        answer = site.ask(token=site.token())
        assert self.successor(answer) is None
        assert not answer.values("x-guest-token")

    def test_fifty_at_once_cause_one_mint_and_get_one_successor(self, site: Site) -> None:
        old = site.token("Fifty", left=60)
        before = site.vendor.mints
        start = Barrier(50)

        def ask(_: int) -> Answer:
            start.wait(20)
            return site.ask(token=old)

        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(ask, range(50)))
        assert {answer.status for answer in answers} == {200}
        assert len({self.successor(answer) for answer in answers}) == 1
        assert site.vendor.mints == before + 1

    def test_a_valid_token_passes_while_the_issuer_is_down(self, tmp_path: Path) -> None:
        with standing(self.recipe, tmp_path) as site:
            assert site.ask(token=site.token()).status == 200  # the keys are at hand
            site.vendor.faults.add("server_error", route="mint", status=503)
            site.vendor.faults.add("server_error", route="login", status=503)
            answer = site.ask(token=site.token(left=60))
            assert (answer.status, self.successor(answer)) == (200, None)

    def test_a_fault_of_ours_is_no_401(self, tmp_path: Path) -> None:
        """A client that reads 401 throws a good token away."""
        vendor = FakeVendor(rate=None)
        vendor.faults.add("server_error", route="jwks", status=503)
        with standing(self.recipe, tmp_path, vendor=vendor) as site:
            before = len(site.backend.requests)
            assert site.ask(token=site.token()).status == 503
            assert len(site.backend.requests) == before

    def test_without_an_answer_nothing_passes(self, tmp_path: Path) -> None:
        with standing(self.recipe, tmp_path) as site:
            site.guestpass.close()
            assert site.ask("/public/x", site.token()).status == self.gone_status
            assert not site.backend.requests

    def test_too_many_bad_tokens_are_a_429_for_their_sender_alone(self, tmp_path: Path) -> None:
        with standing(self.recipe, tmp_path, GUESTPASS_LIMITS__FAILED_VERIFICATION="2/minute") as site:
            bad = [mint(name=f"Mallory {n}", key=signing_key("mallory")) for n in range(3)]
            assert [site.ask(token=token).status for token in bad] == [401, 401, 429]
            # An address that the client makes up counts for nothing.
            assert site.ask("/chat", bad[0], ("X-Forwarded-For", "192.0.2.7")).status == 429
