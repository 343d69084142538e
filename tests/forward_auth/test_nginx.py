"""nginx: auth_request, with decisions cached by token."""

import getpass
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from forward_auth_laws import Laws
from forward_auth_site import Recipe, Site, standing

from guestpass.testing import mint, signing_key

NGINX = Recipe(
    "nginx",
    ("nginx", "apt-get install nginx-light"),
    # As root nginx changes to a user who may not enter a folder of pytest's.
    ("-p", "{here}", "-c", "nginx.conf", "-g", f"user {getpass.getuser()};"),
)


class TestNginx(Laws):
    recipe = NGINX
    gone_status = 500

    def test_nothing_is_cached_where_guestpass_has_rules_of_its_own(self, site: Site) -> None:
        """The same token may fare differently on another path."""
        token, before = site.token(), site.decisions.asked
        for _ in range(5):
            assert site.ask(token=token).status == 200
        assert site.decisions.asked == before + 5


class TestCachedDecisions:
    """The same recipe over a guestpass without rules, whose decisions rest on the token alone."""

    @pytest.fixture(scope="class")
    @classmethod
    def site(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
        with standing(NGINX, tmp_path_factory.mktemp("nginx"), toml="") as site:
            yield site

    def test_a_token_that_comes_again_is_not_asked_about_again(self, site: Site) -> None:
        token, before = site.token(), site.decisions.asked
        for n in range(20):
            assert site.ask(f"/chat?{n}", token, method="GET" if n % 2 else "POST", body=b"").status == 200
            assert site.backend.fields(b"x-guest-email") == [b"ada@example.org"]
        assert site.decisions.asked - before < 10

    def test_nobody_ever_gets_anothers_identity(self, site: Site) -> None:
        tokens = {name: site.token(name) for name in ("Ada", "Bob", "Cyd", "Dee")}

        def ask(name: str) -> bool:
            return site.ask(f"/of/{name}", tokens[name]).status == 200

        with ThreadPoolExecutor(8) as threads:
            assert all(threads.map(ask, [*tokens] * 25))
        for request in site.backend.requests:
            if (path := request["path"]).startswith("/of/"):
                assert (b"x-guest-name", path.removeprefix("/of/").encode()) in request["headers"]

    def test_a_cached_token_opens_nothing_for_others(self, site: Site) -> None:
        token = site.token()
        assert site.ask(token=token).status == 200
        assert site.ask().status == 401
        assert site.ask("/chat", None, ("X-Guest-Token", "")).status in (400, 401)
        assert site.ask(token=token[:-4]).status == 401

    def test_a_successor_is_never_cached(self, site: Site) -> None:
        old = site.token("Eve", left=60)
        before = site.decisions.asked
        first, second = site.ask(token=old), site.ask(token=old)
        assert first.values("x-guest-token") == second.values("x-guest-token") != []
        assert site.decisions.asked == before + 2

    def test_a_refusal_is_never_cached(self, site: Site) -> None:
        bad, before = mint(key=signing_key("mallory")), site.decisions.asked
        assert [site.ask(token=bad).status for _ in range(2)] == [401, 401]
        assert site.decisions.asked == before + 2
